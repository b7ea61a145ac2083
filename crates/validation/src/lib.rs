//! Validation: requests held against what their messages say of their own fields, by the rules of `buf.validate`
//! (<https://protovalidate.com>). The library prost-protovalidate evaluates them, CEL included.
//!
//! Invariants: rules that can't be compiled are refused when they are loaded; no panic of the library leaves this crate while they
//! are compiled; what a violation says names a field and a rule, never the value that broke it.

mod tree;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use prost_protovalidate::types::MessageConstraintsExt;
use prost_protovalidate::{Error, Validator};
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor};

// Not called from here: they bring the executable that .cargo/protoc runs.
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
use protoc_bin_vendored_linux_aarch_64 as _;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use protoc_bin_vendored_linux_x86_64 as _;
#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
use protoc_bin_vendored_macos_aarch_64 as _;
#[cfg(all(target_os = "macos", target_arch = "x86_64"))]
use protoc_bin_vendored_macos_x86_64 as _;

/// Most violations that one refusal names.
const NAMED: usize = 32;

/// Compiles the rules of one set of descriptors, and keeps what it has compiled. The library's own descriptors take megabytes: they
/// are read when the first message with rules comes.
#[derive(Default)]
pub struct Compiler(OnceLock<Arc<Validator>>);

/// The rules of a request message and of the messages inside it.
pub struct Rules {
    validator: Arc<Validator>,
    message: MessageDescriptor,
    /// What rules over whole messages say of themselves, by their ids: the library leaves that out.
    texts: HashMap<String, String>,
}

/// Rules that can't be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rules of {message} can't be compiled: {problem}")]
pub struct RulesError {
    /// The message's full name.
    pub message: String,
    /// Why.
    pub problem: String,
}

/// A rule that a request breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field, such as `items[2].sku`. Empty: the whole message.
    pub field: String,
    /// What is wrong with it, as the rule says it, and the rule's id.
    pub problem: String,
}

/// A request can't be read as its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request can't be read as its message")]
pub struct Unreadable;

impl Compiler {
    /// The rules of `message`; an error where they, or those of a message inside it, can't be compiled.
    pub fn rules(&self, message: &MessageDescriptor) -> Result<Rules, RulesError> {
        let mut texts = HashMap::new();
        // The innermost first, so that the one whose rules are wrong is named.
        for inner in inside(message).iter().rev() {
            self.check(inner)?;
            texts.extend(said(inner));
        }
        Ok(Rules { validator: Arc::clone(self.validator()), message: message.clone(), texts })
    }

    fn validator(&self) -> &Arc<Validator> {
        self.0.get_or_init(Arc::default)
    }

    /// Rules are compiled when a message of their type is seen for the first time.
    fn check(&self, message: &MessageDescriptor) -> Result<(), RulesError> {
        let empty = DynamicMessage::new(message.clone());
        let checked = catch_unwind(AssertUnwindSafe(|| self.validator().validate(&empty)));
        let problem = match checked {
            Ok(Err(Error::Compilation(error))) => error.to_string(),
            Ok(_) => return Ok(()),
            Err(_panic) => "they contradict themselves".to_owned(),
        };
        Err(RulesError { message: message.full_name().to_owned(), problem })
    }
}

impl Rules {
    /// What of a request's encoded message breaks a rule; nothing where none is broken. A rule that can't be evaluated for this
    /// request counts as broken.
    pub fn violations(&self, request: &[u8]) -> Result<Vec<Violation>, Unreadable> {
        let message = DynamicMessage::decode(self.message.clone(), request).map_err(|_| Unreadable)?;
        Ok(match self.validator.validate(&message) {
            Ok(()) => Vec::new(),
            Err(Error::Validation(broken)) => {
                broken.violations().iter().take(NAMED).map(|broken| self.violation(broken)).collect()
            }
            Err(Error::Compilation(_) | Error::Runtime(_)) => {
                vec![Violation {
                    field: String::new(),
                    problem: "a rule of it can't be evaluated for this request".to_owned(),
                }]
            }
            Err(_) => vec![Violation { field: String::new(), problem: "it breaks a rule".to_owned() }],
        })
    }

    /// Bytes of memory that [`Rules::violations`] takes for a request, counted from above: it sees a tree of values.
    pub fn weight(&self, request: &[u8]) -> Result<u64, Unreadable> {
        Ok(tree::weight(&self.message, request)? + request.len() as u64)
    }

    fn violation(&self, broken: &prost_protovalidate::Violation) -> Violation {
        let rule = broken.rule_id();
        let text = Some(broken.message()).filter(|text| !text.is_empty());
        let problem = match text.or_else(|| self.texts.get(rule).map(String::as_str)) {
            Some(text) => format!("{text} ({rule})"),
            None => format!("breaks {rule}"),
        };
        Violation { field: broken.field_path(), problem }
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Rules").field("message", &self.message.full_name()).finish_non_exhaustive()
    }
}

/// The ids and texts of a message's own rules.
fn said(message: &MessageDescriptor) -> Vec<(String, String)> {
    let Ok(Some(rules)) = message.message_constraints() else { return Vec::new() };
    rules.cel.into_iter().filter_map(|rule| Some((rule.id?, rule.message?))).collect()
}

/// A message and those inside it, each once.
fn inside(message: &MessageDescriptor) -> Vec<MessageDescriptor> {
    let mut found = vec![message.clone()];
    let (mut known, mut ahead) = (HashSet::from([message.full_name().to_owned()]), VecDeque::from([message.clone()]));
    while let Some(message) = ahead.pop_front() {
        for field in message.fields() {
            if let Kind::Message(inner) = field.kind()
                && known.insert(inner.full_name().to_owned())
            {
                found.push(inner.clone());
                ahead.push_back(inner);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
