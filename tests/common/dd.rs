//! Double-double arithmetic: an unevaluated sum `hi + lo`, about 106 bits. It needs nothing but correctly rounded
//! `f64` operations (no fused multiply-add, no libm), so it gives the same reference on every target.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// `hi + lo` with `|lo| ≤ ulp(hi)/2`. Not-a-number and the infinities live in `hi`, with `lo` = 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dd {
    pub hi: f64,
    pub lo: f64,
}

/// `m · 2^e`: a value whose exponent may lie outside the range of `f64`, so that a reference is as accurate at the
/// underflow border as elsewhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exact {
    pub m: Dd,
    pub e: i32,
}

/// The exact sum of two floats.
pub fn two_sum(a: f64, b: f64) -> Dd {
    let hi = a + b;
    if !hi.is_finite() {
        return Dd::from(hi);
    }
    let bb = hi - a;
    Dd {
        hi,
        lo: (a - (hi - bb)) + (b - bb),
    }
}

fn quick_two_sum(a: f64, b: f64) -> Dd {
    let hi = a + b;
    if !hi.is_finite() {
        return Dd::from(hi);
    }
    Dd { hi, lo: b - (hi - a) }
}

/// The exact product (Dekker's splitting; |a|, |b| < 2^996).
fn two_prod(a: f64, b: f64) -> Dd {
    let split = |v: f64| {
        let t = 134_217_729.0 * v;
        let hi = t - (t - v);
        (hi, v - hi)
    };
    let hi = a * b;
    let ((a1, a0), (b1, b0)) = (split(a), split(b));
    Dd {
        hi,
        lo: ((a1 * b1 - hi) + a1 * b0 + a0 * b1) + a0 * b0,
    }
}

impl From<f64> for Dd {
    fn from(hi: f64) -> Dd {
        Dd { hi, lo: 0.0 }
    }
}

impl Neg for Dd {
    type Output = Dd;
    fn neg(self) -> Dd {
        Dd {
            hi: -self.hi,
            lo: -self.lo,
        }
    }
}

impl Add for Dd {
    type Output = Dd;
    fn add(self, b: Dd) -> Dd {
        let (s, t) = (two_sum(self.hi, b.hi), two_sum(self.lo, b.lo));
        let s = quick_two_sum(s.hi, s.lo + t.hi);
        quick_two_sum(s.hi, s.lo + t.lo)
    }
}

impl Sub for Dd {
    type Output = Dd;
    fn sub(self, b: Dd) -> Dd {
        self + -b
    }
}

impl Mul for Dd {
    type Output = Dd;
    fn mul(self, b: Dd) -> Dd {
        let p = two_prod(self.hi, b.hi);
        quick_two_sum(p.hi, p.lo + (self.hi * b.lo + self.lo * b.hi))
    }
}

impl Div for Dd {
    type Output = Dd;
    fn div(self, b: Dd) -> Dd {
        let q1 = self.hi / b.hi;
        let r = self - b * Dd::from(q1);
        let q2 = r.hi / b.hi;
        let r = r - b * Dd::from(q2);
        quick_two_sum(q1, q2) + Dd::from(r.hi / b.hi)
    }
}

impl Dd {
    pub fn abs(self) -> Dd {
        if self.hi < 0.0 { -self } else { self }
    }

    /// The value times 2^e (exact while it stays in range).
    pub fn scale(self, e: i32) -> Dd {
        Dd {
            hi: scale(self.hi, e),
            lo: scale(self.lo, e),
        }
    }

    /// ⌊log₂⌋ of a positive finite value.
    pub fn floor_log2(self) -> i32 {
        let (v, shift) = if self.hi < f64::MIN_POSITIVE {
            (self.scale(200), -200)
        } else {
            (self, 0)
        };
        let bits = v.hi.to_bits();
        let power_of_two = bits << 12 == 0;
        (bits >> 52) as i32 - 1023 + shift - i32::from(power_of_two && v.lo < 0.0)
    }
}

/// `v · 2^e` in steps that are powers of two themselves.
pub fn scale(v: f64, e: i32) -> f64 {
    let step = e.clamp(-1000, 1000);
    let scaled = v * f64::from_bits(((1023 + step) as u64) << 52);
    if step == e || scaled == 0.0 || !scaled.is_finite() {
        scaled
    } else {
        scale(scaled, e - step)
    }
}

impl From<Dd> for Exact {
    fn from(m: Dd) -> Exact {
        Exact { m, e: 0 }
    }
}

impl Exact {
    pub fn to_dd(self) -> Dd {
        self.m.scale(self.e)
    }

    pub fn to_f64(self) -> f64 {
        scale(self.m.hi, self.e)
    }
}

impl Mul<Dd> for Exact {
    type Output = Exact;
    fn mul(self, b: Dd) -> Exact {
        Exact {
            m: self.m * b,
            e: self.e,
        }
    }
}

/// A running sum of many positive terms, each addition exact to about 2^-105 of the sum.
#[derive(Clone, Copy)]
pub struct Sum(Dd);

impl Sum {
    pub const ZERO: Sum = Sum(Dd { hi: 0.0, lo: 0.0 });

    pub fn add(self, v: Dd) -> Sum {
        let s = two_sum(self.0.hi, v.hi);
        Sum(Dd {
            hi: s.hi,
            lo: self.0.lo + (s.lo + v.lo),
        })
    }

    pub fn total(self) -> Dd {
        quick_two_sum(self.0.hi, self.0.lo)
    }
}

/// ln 2 in three parts; the first two have 40 bits, so that `k · part` is exact for |k| < 2^13.
const LN2: [f64; 3] = [
    f64::from_bits(LN2_BITS[0]),
    f64::from_bits(LN2_BITS[1]),
    f64::from_bits(LN2_BITS[2]),
];
const LN2_BITS: [u64; 3] = [0x3fe6_2e42_fefa_2000, 0x3d69_ef35_793c_6000, 0x3ae6_7300_7e5e_d5e8];

/// 1/1, 1/2, … 1/10.
const INVERSES: [Dd; 10] = {
    let mut table = [Dd { hi: 1.0, lo: 0.0 }; 10];
    let mut i = 1;
    while i < 10 {
        let n = (i + 1) as f64;
        let hi = 1.0 / n;
        let t = 134_217_729.0 * hi;
        let top = t - (t - hi);
        table[i] = Dd {
            hi,
            lo: ((1.0 - top * n) - (hi - top) * n) / n,
        };
        i += 1;
    }
    table
};

/// e^d = m · 2^e, relative error below 1e-30. Terms below e^-100000 are 0, above e^100000 infinite.
pub fn exp(d: Dd) -> Exact {
    let Some((k, r)) = reduce(d) else {
        return out_of_range(d);
    };
    // p = e^s − 1 for |s| ≤ ln2/256 by Horner, s(1 + s/2(1 + s/3(…))), then seven squarings of 1 + p: p ← 2p + p².
    // From s⁶/6! on the terms are below 2^-52 of p, and f64 is good enough for them.
    let s = r.scale(-7);
    let (large, small) = INVERSES.split_at(5);
    let small = small.iter().rev().fold(0.0, |p, inverse| s.hi * inverse.hi * (1.0 + p));
    let mut p = Dd::from(small);
    for &inverse in large.iter().rev() {
        p = s * inverse * (Dd::from(1.0) + p);
    }
    for _ in 0..7 {
        p = p.scale(1) + p * p;
    }
    Exact {
        m: Dd::from(1.0) + p,
        e: k,
    }
}

/// e^d from the platform's `f64::exp` (relative error about 2^-52): the fast reference for narrow formats.
pub fn exp_f64(d: Dd) -> Exact {
    if d.hi.abs() < 700.0 {
        let e = d.hi.exp();
        return Exact::from(Dd { hi: e, lo: e * d.lo });
    }
    let Some((k, r)) = reduce(d) else {
        return out_of_range(d);
    };
    Exact {
        m: Dd::from(r.hi.exp()),
        e: k,
    }
}

/// d = k·ln2 + r with |r| ≤ ln2/2 (+ a little).
fn reduce(d: Dd) -> Option<(i32, Dd)> {
    if d.hi.is_nan() || d.hi.abs() >= 5000.0 {
        return None;
    }
    let k = (d.hi * std::f64::consts::LOG2_E).round();
    let r = LN2.iter().fold(d, |r, part| r - Dd::from(k * part));
    Some((k as i32, r))
}

fn out_of_range(d: Dd) -> Exact {
    let limit = if d.hi < 0.0 { 0.0 } else { f64::INFINITY };
    Exact::from(Dd::from(if d.hi.is_nan() { d.hi } else { limit }))
}

/// ln a for a positive finite a: one Newton step in double-double from the `f64` logarithm.
pub fn ln(a: Dd) -> Dd {
    let y = Dd::from(a.hi.ln());
    y + (a * exp(-y).to_dd() - Dd::from(1.0))
}
