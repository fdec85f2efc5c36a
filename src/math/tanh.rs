//! softcap: c·tanh(s·x/c), rounded as one function.
//!
//! With y = 2·s·x/c (the quotient s/c in two terms, so that y is within 0.6 ULP) and w = y²,
//!
//! ```text
//! |y| < 1.6:   s·x + s·x·w·P(w)/Q(w)           tanh(y/2) = y/2·(1 + w·P/Q)
//! else:        ±c ∓ 2c/(e^|y| + 1)             tanh(y/2) = 1 − 2/(e^y + 1)
//! ```
//!
//! Both are a term and a quotient that is at most half of it, so one division serves both and its error counts half.
//! Found over every f32 under softcaps 1, 30 and 50: at most 1.56 ULP (`Portable`: 5.1). P and Q are minimax on the
//! interval (`tools/tanh_coefficients.py`): 0.09·2^−24 and 0.21·2^−53 relative to tanh, as rounded.

// Constants keep the digits that name them, also where the type rounds them.
#![allow(clippy::excessive_precision)]

use super::exp::{Shift, Splat, exp};
use crate::element::Float;
use crate::lanes::Lanes;

/// P and Q, highest power first.
pub const TERMS_F32: (&[f32], &[f32]) = (
    &[-0.000_920_769_118, -0.083_333_335_8],
    &[0.000_985_890_51, 0.111_049_22, 1.0],
);

/// P and Q, highest power first.
pub const TERMS_F64: (&[f64], &[f64]) = (
    &[
        -3.103_756_625_961_08e-6,
        -0.001_280_415_282_730_410_7,
        -0.083_333_333_333_332_88,
    ],
    &[
        3.218_094_451_863_016e-6,
        0.001_454_695_799_850_964_7,
        0.115_364_983_392_722_05,
        1.0,
    ],
);

/// From this |y| on, tanh comes from e^|y|.
const LARGE: f64 = 1.6;

/// The constants of one softcap.
#[derive(Clone, Copy)]
pub struct Softcap<F> {
    cap: F,
    scale: F,
    /// 2·scale/cap in two terms.
    high: F,
    low: F,
    /// Larger |x| are lowered to this: their tanh is 1.
    limit: F,
}

impl<F: Float> Softcap<F> {
    /// scale and cap finite, their quotient too, cap > 0.
    #[inline(always)]
    pub fn new(scale: F, cap: F) -> Self {
        let (high, low) = F::quotient(scale, cap);
        let (high, low) = (high + high, low + low);
        let magnitude = if high < F::ZERO { -high } else { high };
        let (limit, _) = F::quotient(F::TANH_ONE, magnitude);
        // Finite, so that the product of ±∞ and a low term of 0 does not arise.
        let largest = F::quotient(F::from_i32(1), F::SMALLEST).0;
        let limit = if limit < largest { limit } else { largest };
        Self {
            cap,
            scale,
            high,
            low,
            limit,
        }
    }

    /// The softcap of each lane: NaN of NaN, ±cap of ±∞.
    #[inline(always)]
    pub fn of<L: Lanes<F>>(&self, lanes: L, x: L::V) -> L::V {
        if L::COMPACT {
            self.compact(lanes, x)
        } else {
            self.inlined(lanes, x)
        }
    }

    /// A call, for the reasons of `math::exp`.
    #[inline(never)]
    fn compact<L: Lanes<F>>(&self, lanes: L, x: L::V) -> L::V {
        self.inlined(lanes, x)
    }

    #[inline(always)]
    fn inlined<L: Lanes<F>>(&self, lanes: L, x: L::V) -> L::V {
        let (zero, one) = (lanes.splat(F::ZERO), lanes.splat(F::from_i32(1)));
        let (limit, large) = (lanes.splat(self.limit), lanes.splat(F::from_f64(LARGE)));
        let x = lanes.min(limit, lanes.max(lanes.sub(zero, limit), x));
        let y = lanes.mul_add(x, lanes.splat(self.high), lanes.mul(x, lanes.splat(self.low)));
        let magnitude = lanes.max(lanes.sub(zero, y), y);

        let s = lanes.mul(lanes.splat(self.scale), x);
        let w = lanes.mul(y, y);
        let (p, q) = (horner(lanes, F::TANH.0, w), horner(lanes, F::TANH.1, w));
        let small = lanes.mul(lanes.mul(s, w), p);

        // Where |y| is large, the sign is y between −1 and 1.
        let sign = lanes.min(one, lanes.max(lanes.splat(-F::from_i32(1)), y));
        let cap = lanes.mul(lanes.splat(self.cap), sign);
        let core = F::fine_core(L::FUSED);
        let shift: Splat<L::V> = Shift::new(F::ZERO, 0, F::ZERO, core).splat(lanes);
        let ([e], _) = exp::<F, L, 1, false>(lanes, core, &shift, [magnitude]);
        let minus_two = lanes.splat(-F::from_i32(2));

        let term = lanes.select_below(cap, s, magnitude, large);
        let above = lanes.select_below(lanes.mul(minus_two, cap), small, magnitude, large);
        let below = lanes.select_below(lanes.add(e, one), q, magnitude, large);
        lanes.add(term, lanes.div(above, below))
    }
}

/// c[0]·w^n + … + c[n].
#[inline(always)]
fn horner<F: Float, L: Lanes<F>>(lanes: L, c: &[F], w: L::V) -> L::V {
    let mut p = lanes.splat(c[0]);
    for &c in &c[1..] {
        p = lanes.mul_add(p, w, lanes.splat(c));
    }
    p
}
