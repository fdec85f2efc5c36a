//! The smallest ONNX model: one softmax node over a static matrix, as protobuf bytes.
//!
//! A message is a sequence of fields, each a key (`number << 3 | wire type`) and a value: a varint
//! (wire type 0) or a length and that many bytes (wire type 2). The field numbers are those of
//! `onnx.proto`.

use crate::task::{Dtype, Op, Shape};

/// The name of the model's input.
pub const INPUT: &std::ffi::CStr = c"x";
/// The name of the model's output.
pub const OUTPUT: &std::ffi::CStr = c"y";

/// `AttributeProto.AttributeType.INT`.
const INT: u64 = 2;
/// The IR and operator set versions: old enough for every onnxruntime of this decade, new enough
/// that Softmax works along one axis.
const IR_VERSION: u64 = 8;
const OPSET: u64 = 13;

/// `TensorProto.DataType` of an element type.
pub fn element_type(dtype: Dtype) -> u64 {
    match dtype {
        Dtype::F32 => 1,
        Dtype::F16 => 10,
        Dtype::Bf16 => 16,
    }
}

/// A model whose only node computes `op` along the columns.
pub fn bytes(op: Op, dtype: Dtype, shape: Shape) -> Vec<u8> {
    let op_type = match op {
        Op::Softmax => "Softmax",
        Op::LogSoftmax => "LogSoftmax",
    };
    let axis = Message::new().text(1, "axis").varint(3, 1).varint(20, INT);
    let node = Message::new()
        .text(1, "x")
        .text(2, "y")
        .text(4, op_type)
        .message(5, axis);
    let graph = Message::new()
        .message(1, node)
        .text(2, "g")
        .message(11, value("x", dtype, shape))
        .message(12, value("y", dtype, shape));
    let opset = Message::new().text(1, "").varint(2, OPSET);
    Message::new()
        .varint(1, IR_VERSION)
        .message(7, graph)
        .message(8, opset)
        .0
}

/// A `ValueInfoProto`: name, element type and dimensions.
fn value(name: &str, dtype: Dtype, shape: Shape) -> Message {
    let dimension = |n: usize| Message::new().varint(1, n as u64);
    let dimensions = Message::new()
        .message(1, dimension(shape.rows))
        .message(1, dimension(shape.cols));
    let tensor = Message::new().varint(1, element_type(dtype)).message(2, dimensions);
    Message::new()
        .text(1, name)
        .message(2, Message::new().message(1, tensor))
}

struct Message(Vec<u8>);

impl Message {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn varint(mut self, field: u64, value: u64) -> Self {
        self.raw(field << 3);
        self.raw(value);
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.raw(field << 3 | 2);
        self.raw(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(self, field: u64, message: Message) -> Self {
        self.bytes(field, &message.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_encoded_as_the_format_says() {
        // The worked examples of the encoding's documentation.
        assert_eq!(Message::new().varint(1, 150).0, [0x08, 0x96, 0x01]);
        assert_eq!(Message::new().text(2, "testing").0, b"\x12\x07testing");
    }

    #[test]
    fn a_model_begins_with_its_version_and_names_its_node() {
        let model = bytes(Op::LogSoftmax, Dtype::F32, Shape::new(3, 300));
        assert_eq!(model[..2], [0x08, IR_VERSION as u8]);
        assert!(model.windows(10).any(|part| part == b"LogSoftmax"));
        // 300 as a varint.
        assert!(model.windows(3).any(|part| part == [0x08, 0xac, 0x02]));
    }
}
