//! Contracts from inline protos.

use std::path::Path;

use accord_contract::{Contract, Finding, Method, Overlay, Severity, Source};
use protox::Compiler;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, File, FileResolver, GoogleFileResolver};

/// Files by name.
pub(crate) struct Inline(pub Vec<(&'static str, String)>);

impl FileResolver for Inline {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        path.to_str().map(str::to_owned)
    }

    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.iter().find(|file| file.0 == name) {
            Some((_, source)) => File::from_source(name, source),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// Compiles files, of which the first is the root; imports may also be Accord's and Google's.
pub(crate) fn source(files: Inline) -> Source {
    let root = files.0[0].0;
    let mut resolver = ChainFileResolver::new();
    resolver.add(files);
    resolver.add(DescriptorSetFileResolver::decode(accord_api::FILE_DESCRIPTOR_SET).unwrap());
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file(root).unwrap();
    Source::descriptor_set("shop", "test", &compiler.encode_file_descriptor_set()).unwrap()
}

/// The service `test.v1.Shop` with these methods, in a file with these other statements.
pub(crate) fn shop(file: &str, service: &str) -> Source {
    let text = format!(
        "syntax = \"proto3\"; package test.v1;
         import \"accord/policy/v1/policy.proto\"; import \"google/api/annotations.proto\";
         import \"google/api/field_behavior.proto\"; import \"google/protobuf/timestamp.proto\";
         {file}
         service Shop {{ {service} }}
         message Item {{ string id = 1; repeated string tags = 2; Item inside = 3; double price = 4; Color color = 5;
                        google.protobuf.Timestamp change_time = 6; }}
         message Request {{
           string id = 1; Item item = 2; repeated Item items = 3; map<string, string> labels = 4; double price = 5;
           optional string note = 6; string other = 7;
         }}
         message Response {{ Item item = 1; repeated Item items = 2; int64 count = 3; }}
         enum Color {{ COLOR_UNSPECIFIED = 0; COLOR_RED = 1; }}"
    );
    source(Inline(vec![("test.proto", text)]))
}

/// One unary method `test.v1.Shop/Get` with these options.
pub(crate) fn get(options: &str) -> Source {
    shop("", &format!("rpc Get(Request) returns (Response) {{ {options} }}"))
}

/// As [`get`], open to all, declared free of side effects, with this policy.
pub(crate) fn reading(policy: &str) -> Source {
    get(&format!(
        "option idempotency_level = NO_SIDE_EFFECTS;
         option (accord.policy.v1.method) = {{ access: {{ permission: \"shop.read\" }} {policy} }};"
    ))
}

/// As [`get`], a mutation with this policy.
pub(crate) fn writing(policy: &str) -> Source {
    get(&format!("option (accord.policy.v1.method) = {{ access: {{ permission: \"shop.write\" }} {policy} }};"))
}

/// The findings of a contract from one source.
pub(crate) fn findings(source: Source) -> Vec<Finding> {
    Contract::load(&[source], &[]).1
}

/// The method `test.v1.Shop/Get` of a contract without findings.
pub(crate) fn accepted(source: Source, overlays: &[Overlay]) -> std::sync::Arc<Method> {
    let (contract, findings) = Contract::load(&[source], overlays);
    assert_eq!(findings, []);
    contract.method("test.v1.Shop/Get").unwrap().clone()
}

/// Asserts that there is exactly one error, about this option and with these words.
#[track_caller]
pub(crate) fn refused(findings: &[Finding], option: &str, words: &str) {
    let [finding] = findings else { panic!("not one finding: {findings:#?}") };
    assert_eq!(finding.severity, Severity::Error);
    assert_eq!(finding.option, option);
    assert!(finding.problem.contains(words), "{finding}");
    assert!(!finding.remedy.is_empty());
}
