//! Files of the tests, as they are: the element types, the list of operators, the reference and the bounds.
#![allow(dead_code, unused_imports, unused_macros)]
#![allow(clippy::should_implement_trait)] // asked of what is public, which this is only here

#[path = "../../tests/common/dd.rs"]
pub mod dd;
#[path = "../../tests/common/element.rs"]
pub mod element;
#[path = "../../tests/common/ops.rs"]
pub mod ops;
#[path = "../../tests/common/oracle.rs"]
pub mod oracle;
#[path = "../../tests/common/shape.rs"]
pub mod shape;
#[path = "../../tests/common/ulp.rs"]
pub mod ulp;
