//! The messages that JSON is made of and made into: those of the transcoder's own tests.

use std::sync::{Arc, LazyLock};

use accord_contract::Source;
use accord_transcode::{Limits, Plan, Schema};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

const KITCHEN: &str = include_str!("../../transcode/tests/transcode/kitchen.proto");
const LEGACY: &str = include_str!("../../transcode/tests/transcode/legacy.proto");
const LAB: &[u8] = include_bytes!("../../transcode/tests/transcode/editions/lab.binpb");

/// A message with everything that proto3 has, one of proto2 with groups and extensions, and one of an edition.
pub(crate) static MESSAGES: LazyLock<[Message; 3]> = LazyLock::new(|| {
    let proto = compiled();
    let lab = Source::descriptor_set("lab", "lab.binpb", LAB).expect("protoc wrote it").pool;
    [Message::of(&proto, "kitchen.Kitchen"), Message::of(&proto, "legacy.Attic"), Message::of(&lab, "lab.v1.Lab")]
});

/// The first of them.
pub(crate) fn sink() -> &'static Message {
    &MESSAGES[0]
}

/// A message that the first method of a service takes and gives.
pub(crate) struct Message {
    pub(crate) method: MethodDescriptor,
    pub(crate) schema: Arc<Schema>,
    /// Its plan, with the message as the whole body.
    pub(crate) plan: Plan,
}

impl Message {
    fn of(pool: &DescriptorPool, service: &str) -> Self {
        let service = pool.get_service_by_name(service).expect("the schema has it");
        let method = service.methods().next().expect("the service has a method");
        let schema = Arc::new(Schema::compile(pool));
        let plan = Plan::compile(&schema, &method, None, Limits::default()).expect("its messages are in the schema");
        Self { method, schema, plan }
    }

    pub(crate) fn descriptor(&self) -> MessageDescriptor {
        self.method.input()
    }

    /// What prost-reflect reads from wire bytes.
    pub(crate) fn decoded(&self, wire: &[u8]) -> Option<DynamicMessage> {
        DynamicMessage::decode(self.descriptor(), wire).ok()
    }

    /// What prost-reflect reads from JSON.
    pub(crate) fn read(&self, text: &[u8]) -> Option<DynamicMessage> {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let message = DynamicMessage::deserialize(self.descriptor(), &mut deserializer).ok()?;
        deserializer.end().is_ok().then_some(message)
    }
}

struct Two;

impl FileResolver for Two {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            "kitchen.proto" => File::from_source(name, KITCHEN),
            "legacy.proto" => File::from_source(name, LEGACY),
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}

fn compiled() -> DescriptorPool {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Two);
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    let files = compiler.include_imports(true).open_files(["kitchen.proto", "legacy.proto"]);
    DescriptorPool::decode(&*files.expect("they compile").encode_file_descriptor_set()).expect("protox wrote it")
}
