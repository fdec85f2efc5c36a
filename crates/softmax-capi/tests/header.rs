//! The header and the library say the same: the C compiler is given `softmax.h` and, after it, every function, struct
//! and constant as Rust has it. A redeclaration that differs is an error of C.

use half::{bf16, f16};
use softmax_capi::{Bool, CrossEntropyParams, Mask, OnlineSoftmax, ParallelFor, Status, Task, *};
use std::collections::BTreeSet;
use std::ffi::{c_char, c_int, c_void};
use std::mem::{align_of, offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A type that crosses the interface, and how C spells it.
trait CType {
    fn spelling() -> String;
}

macro_rules! spelled {
    ($($t:ty => $c:literal;)*) => {$(
        impl CType for $t {
            fn spelling() -> String {
                $c.into()
            }
        }
    )*};
}
spelled! {
    () => "void";
    c_void => "void";
    c_char => "char";
    c_int => "int";
    u8 => "uint8_t";
    i64 => "int64_t";
    usize => "size_t";
    isize => "ptrdiff_t";
    core::primitive::f32 => "float";
    core::primitive::f64 => "double";
    f16 => "uint16_t";
    bf16 => "uint16_t";
    Bool => "bool";
    Mask => "smx_mask";
    CrossEntropyParams => "smx_cross_entropy_params";
    OnlineSoftmax => "smx_online_f32";
}

impl<T: CType> CType for *const T {
    fn spelling() -> String {
        format!("const {} *", T::spelling())
    }
}

impl<T: CType> CType for *mut T {
    fn spelling() -> String {
        format!("{} *", T::spelling())
    }
}

/// A pointer to a function may be null where Rust has an `Option`, or where C promises that it is not.
impl<T: CType> CType for Option<T> {
    fn spelling() -> String {
        T::spelling()
    }
}

impl CType for Task {
    fn spelling() -> String {
        "void (*)(void *, size_t)".into()
    }
}

impl CType for ParallelFor {
    fn spelling() -> String {
        "void (*)(void *, size_t, void (*)(void *, size_t), void *)".into()
    }
}

/// A pointer to a function of the library, declared in C under a name.
trait Function {
    fn declaration(&self, name: &str) -> String;
}

macro_rules! function {
    ($($argument:ident)*) => {
        impl<R: CType, $($argument: CType),*> Function for unsafe extern "C" fn($($argument),*) -> R {
            fn declaration(&self, name: &str) -> String {
                let arguments: Vec<String> = vec![$($argument::spelling()),*];
                let arguments = if arguments.is_empty() { "void".into() } else { arguments.join(", ") };
                format!("{} {name}({arguments});", R::spelling())
            }
        }
    };
}
function! {}
function! { A }
function! { A B }
function! { A B C }
function! { A B C D }
function! { A B C D E }
function! { A B C D E F }
function! { A B C D E F G }
function! { A B C D E F G H }
function! { A B C D E F G H I }

/// Every function of the library with its declaration. The underscores are the arguments, whose types rustc fills in.
macro_rules! declarations {
    ([$($t:ident)*] $each:tt [$($path:ident($($any:tt),*))*]) => {
        [
            $(declarations!(@element $t $each),)*
            vec![$({
                let name = stringify!($path);
                (name.to_string(), ($path as unsafe extern "C" fn($($any),*) -> _).declaration(name))
            }),*],
        ]
        .concat()
    };
    (@element $t:ident [$($name:ident($($any:tt),*))*]) => {
        vec![$({
            let name = concat!("smx_", stringify!($name), "_", stringify!($t));
            (name.to_string(), (softmax_capi::$t::$name as unsafe extern "C" fn($($any),*) -> _).declaration(name))
        }),*]
    };
}

fn declarations() -> Vec<(String, String)> {
    declarations! {
        [f32 f64 f16 bf16]
        [
            softmax(_, _, _, _, _, _)
            log_softmax(_, _, _, _, _, _)
            logsumexp(_, _, _, _, _)
            softmax_axis(_, _, _, _, _)
            log_softmax_axis(_, _, _, _, _)
            logsumexp_axis(_, _, _, _, _)
            argmax(_, _, _, _, _)
            top_k(_, _, _, _, _, _, _)
            softmax_ragged(_, _, _, _)
            masked_softmax(_, _, _, _, _, _, _)
            masked_log_softmax(_, _, _, _, _, _, _)
            softmax_backward(_, _, _, _, _, _, _, _)
            log_softmax_backward(_, _, _, _, _, _, _, _)
            cross_entropy(_, _, _, _, _, _, _, _, _)
        ]
        [
            smx_exp_f32(_, _, _)
            smx_exp_f64(_, _, _)
            smx_row_max_f32(_, _)
            smx_row_exp_sub_max_sum_f32(_, _, _, _)
            smx_row_scale_f32(_, _, _)
            smx_online_init_f32(_)
            smx_online_update_f32(_, _, _)
            smx_online_update_into_f32(_, _, _, _, _)
            smx_online_rescale_factor_f32(_, _)
            smx_online_merge_f32(_, _)
            smx_online_finish_f32(_, _, _, _)
            smx_online_logsumexp_f32(_)
            smx_softmax_parallel_f32(_, _, _, _, _, _, _, _)
            smx_status_message(_)
            smx_isa_name()
            smx_set_max_isa(_)
            smx_version()
        ]
    }
}

/// The size, the alignment and the fields of a struct, as assertions of C.
macro_rules! layout {
    ($c:literal = $rust:ident { $($field:ident),* }) => {{
        // A field that is missing here is an error of Rust.
        let _ = |$rust { $($field: _),* }: $rust| {};
        let (size, align) = (size_of::<$rust>(), align_of::<$rust>());
        let mut text = assertion(&format!("sizeof({0}) == {size} && _Alignof({0}) == {align}", $c));
        $(
            let (name, offset) = (stringify!($field), offset_of!($rust, $field));
            let pointer = pointer_to(|value: &$rust| &value.$field);
            text += &assertion(&format!("offsetof({0}, {name}) == {offset}", $c));
            text += &assertion(&format!("_Generic(&(({0} *)0)->{name}, {pointer}: 1, default: 0)", $c));
        )*
        text
    }};
}

/// The type of a pointer to what `field` returns.
fn pointer_to<S, F: CType>(_field: fn(&S) -> &F) -> String {
    <*mut F>::spelling()
}

fn assertion(condition: &str) -> String {
    format!("_Static_assert({condition}, \"differs from Rust\");\n")
}

fn constants() -> String {
    [
        ("SMX_OK", Status::Ok as c_int),
        ("SMX_ERR_NULL", Status::Null as c_int),
        ("SMX_ERR_SHAPE", Status::Shape as c_int),
        ("SMX_ERR_OVERLAP", Status::Overlap as c_int),
        ("SMX_ERR_PARAM", Status::Param as c_int),
        ("SMX_ERR_ISA", Status::Isa as c_int),
        ("SMX_FULLY_MASKED_ZERO", FULLY_MASKED_ZERO),
        ("SMX_FULLY_MASKED_NAN", FULLY_MASKED_NAN),
        ("SMX_REDUCTION_NONE", REDUCTION_NONE),
        ("SMX_REDUCTION_MEAN", REDUCTION_MEAN),
        ("SMX_REDUCTION_SUM", REDUCTION_SUM),
    ]
    .map(|(name, value)| assertion(&format!("{name} == {value}")))
    .concat()
}

fn include() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include")
}

/// What the C compiler writes to its standard output.
fn cc(arguments: &[&str], file: &Path) -> String {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let mut command = Command::new(&compiler);
    command.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic"]);
    let output = command.arg("-I").arg(include()).args(arguments).arg(file).output();
    let output = output.unwrap_or_else(|error| panic!("{compiler}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("a header in ASCII")
}

#[test]
fn signatures_structs_and_constants_are_those_of_rust() {
    let mut text = String::from("#include <softmax.h>\n");
    for (_, declaration) in declarations() {
        text += &(declaration + "\n");
    }
    text += &layout!(
        "smx_mask" = Mask {
            size,
            scale,
            softcap,
            alibi_slope,
            additive,
            additive_stride,
            keep,
            keep_stride,
            causal,
            causal_offset,
            queries,
            window,
            lengths,
            sinks,
            fully_masked
        }
    );
    text += &layout!(
        "smx_cross_entropy_params" = CrossEntropyParams {
            size,
            label_smoothing,
            ignore_index,
            class_weights,
            reduction
        }
    );
    text += &layout!("smx_online_f32" = OnlineSoftmax { sum, max, shift });
    text += &constants();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("header.c");
    std::fs::write(&file, text).expect("a file in Cargo's directory for tests");
    cc(&["-fsyntax-only"], &file);
}

/// No function of the header is missing above, and none of those above in the header.
#[test]
fn the_header_declares_the_functions_of_the_library() {
    let text = cc(&["-E", "-P", "-x", "c"], &include().join("softmax.h"));
    let words = text.split_inclusive('(').filter_map(|part| part.strip_suffix('('));
    let names = words.filter_map(|part| part.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next());
    let header: BTreeSet<String> = names
        .filter(|name| name.starts_with("smx_"))
        .map(String::from)
        .collect();
    let library: BTreeSet<String> = declarations().into_iter().map(|(name, _)| name).collect();
    assert_eq!(header, library);
}
