//! What the reader needs of a FileDescriptorSet: `google/protobuf/descriptor.proto`, with the
//! options of `validate/validate.proto` as plain fields.

use envoy_types::pb::validate::FieldRules;
use prost::Message;

/// `google.protobuf.FileDescriptorSet`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Set {
    #[prost(message, repeated, tag = "1")]
    pub(super) files: Vec<File>,
}

/// `google.protobuf.FileDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct File {
    #[prost(string, tag = "2")]
    pub(super) package: String,
    #[prost(message, repeated, tag = "4")]
    pub(super) messages: Vec<MessageType>,
    #[prost(message, repeated, tag = "5")]
    pub(super) enums: Vec<EnumType>,
    #[prost(string, tag = "12")]
    pub(super) syntax: String,
}

/// `google.protobuf.DescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct MessageType {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) fields: Vec<FieldType>,
    #[prost(message, repeated, tag = "3")]
    pub(super) messages: Vec<MessageType>,
    #[prost(message, repeated, tag = "4")]
    pub(super) enums: Vec<EnumType>,
    #[prost(message, optional, tag = "7")]
    pub(super) options: Option<MessageOptions>,
    #[prost(message, repeated, tag = "8")]
    pub(super) oneofs: Vec<OneofType>,
}

/// `google.protobuf.MessageOptions`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct MessageOptions {
    #[prost(bool, tag = "7")]
    pub(super) map_entry: bool,
    #[prost(bool, tag = "1071")]
    pub(super) disabled: bool,
}

/// `google.protobuf.FieldDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct FieldType {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(uint32, tag = "3")]
    pub(super) number: u32,
    /// 3 is repeated.
    #[prost(int32, tag = "4")]
    pub(super) label: i32,
    /// `FieldDescriptorProto.Type`.
    #[prost(int32, tag = "5")]
    pub(super) kind: i32,
    /// Fully qualified, with a leading dot.
    #[prost(string, tag = "6")]
    pub(super) type_name: String,
    #[prost(message, optional, tag = "8")]
    pub(super) options: Option<FieldOptions>,
    #[prost(uint32, optional, tag = "9")]
    pub(super) oneof: Option<u32>,
    #[prost(bool, tag = "17")]
    pub(super) proto3_optional: bool,
}

/// `google.protobuf.FieldOptions`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct FieldOptions {
    #[prost(message, optional, tag = "1071")]
    pub(super) rules: Option<FieldRules>,
}

/// `google.protobuf.OneofDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OneofType {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) options: Option<OneofOptions>,
}

/// `google.protobuf.OneofOptions`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OneofOptions {
    #[prost(bool, tag = "1071")]
    pub(super) required: bool,
}

/// `google.protobuf.EnumDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EnumType {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) values: Vec<EnumValue>,
}

/// `google.protobuf.EnumValueDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EnumValue {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(int32, tag = "2")]
    pub(super) number: i32,
}
