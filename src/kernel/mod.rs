//! The kernels: one file each, generic over the vector type.

pub mod argmax;
pub mod exp;
pub mod log_softmax;
pub mod passes;
pub mod row;
pub mod softmax;
pub mod top_k;
