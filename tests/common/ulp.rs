//! Distances and errors in units in the last place.
//!
//! [`Format::error`] measures a result against an [`Exact`] value: |got − want| in ULP *of the result's format at
//! want*, with the flush rule of the contract. [`distance`] counts the floats between two floats.

use super::dd::{Dd, Exact, scale};

/// A binary floating-point format and whether the contract flushes its subnormal results to 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Format {
    /// Digits of the significand, the implicit one included.
    pub digits: i32,
    /// Exponent of the smallest normal number.
    pub min_exp: i32,
    /// Exponent of the largest finite number.
    pub max_exp: i32,
    pub flush: bool,
}

impl Format {
    pub const F64: Format = Format {
        digits: 53,
        min_exp: -1022,
        max_exp: 1023,
        flush: true,
    };
    pub const F32: Format = Format {
        digits: 24,
        min_exp: -126,
        max_exp: 127,
        flush: true,
    };
    pub const BF16: Format = Format {
        digits: 8,
        ..Format::F32
    };
    pub const F16: Format = Format {
        digits: 11,
        min_exp: -14,
        max_exp: 15,
        flush: false,
    };

    /// Whether it is one of the formats of 16 bits.
    pub fn is_half(&self) -> bool {
        self.digits < Format::F32.digits
    }

    /// Exponent of one ULP at |v| (of the subnormals below the smallest normal number, 0 included).
    pub fn ulp_exp(&self, v: Exact) -> i32 {
        let exp = if v.m.hi == 0.0 {
            self.min_exp
        } else {
            v.m.abs().floor_log2() + v.e
        };
        exp.clamp(self.min_exp, self.max_exp) - (self.digits - 1)
    }

    /// |got − want| in ULP at `want`. A result of 0 stands for all of [0, 2^min_exp) where the format is flushed, an
    /// infinity for everything that rounds to it; a subnormal of a flushed format is infinitely wrong.
    pub fn error(&self, got: f64, want: Exact) -> f64 {
        self.error_in(self.ulp_exp(want), got, want, self.flush)
    }

    /// |got − want| in ULP of max(1, |want|): the measure of logarithms. Subnormals are not judged.
    pub fn error_from_1(&self, got: f64, want: Exact) -> f64 {
        self.error_in(self.ulp_exp(want).max(1 - self.digits), got, want, false)
    }

    fn error_in(&self, ulp_exp: i32, got: f64, want: Exact, flush: bool) -> f64 {
        if let Some(error) = special(got, want) {
            return error;
        }
        let negative = want.m.hi < 0.0;
        let (got, want) = if negative {
            (-got, Exact { m: -want.m, ..want })
        } else {
            (got, want)
        };
        if flush && got != 0.0 && got.abs() < scale(1.0, self.min_exp) {
            return f64::INFINITY;
        }
        let from = |value: Dd, e: i32| (value.scale(e - ulp_exp) - want.m.scale(want.e - ulp_exp)).hi;
        match got {
            0.0 if flush => (-from(Dd::from(1.0), self.min_exp)).max(0.0),
            // Rounding to nearest begins to give infinity at (2 − 2^-digits)·2^max_exp.
            f64::INFINITY => from(
                Dd {
                    hi: 2.0,
                    lo: -scale(1.0, -self.digits),
                },
                self.max_exp,
            )
            .max(0.0),
            _ => from(Dd::from(got), 0).abs(),
        }
    }
}

/// NaN and infinities that are wanted must be met exactly; NaN that is not is infinitely wrong.
fn special(got: f64, want: Exact) -> Option<f64> {
    let same = |same| Some(if same { 0.0 } else { f64::INFINITY });
    match want.m.hi {
        w if w.is_nan() => same(got.is_nan()),
        w if w.is_infinite() => same(got == w),
        _ if got.is_nan() => same(false),
        _ => None,
    }
}

/// Number of floats from `a` to `b`, given their bits in a format `width` bits wide: the floats in order are the
/// integers in order, −0 and +0 both 0. NaN is at no distance from NaN, and at the greatest from any number.
pub fn distance(a: u64, b: u64, width: u32, mantissa: u32) -> u64 {
    let sign = 1u64 << (width - 1);
    let infinity = (sign - 1) >> mantissa << mantissa;
    let magnitude = |bits: u64| bits & (sign - 1);
    let ordered = |bits: u64| {
        if bits & sign == 0 {
            bits as i64
        } else {
            -(magnitude(bits) as i64)
        }
    };
    match (magnitude(a) > infinity, magnitude(b) > infinity) {
        (true, true) => 0,
        (false, false) => ordered(a).abs_diff(ordered(b)),
        _ => u64::MAX,
    }
}
