//! f16 and bf16 from and to f32, without a branch and independent of the host's FTZ and DAZ flags.
//!
//! Loops over these are what the compiler turns into vector code where a backend has no conversion of its own. To f32
//! is exact; from f32 rounds once, to nearest even; NaN stays NaN: quiet, with its sign and what fits of its payload.

const SIGN: u32 = 0x8000_0000;
const INFINITY: u32 = 0x7f80_0000;
/// 112 · 2^23: the exponent biases of f32 and f16 differ by 112.
const REBIAS: u32 = 112 << 23;

/// The value of an f16.
#[inline(always)]
pub fn f16_to_f32(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let magnitude = (bits & 0x7fff) << 13;
    let normal = magnitude.wrapping_add(REBIAS);
    // 2^-14·(1 + m) − 2^-14: normal numbers alone, unlike m·2^-14 as a scaled subnormal f32.
    let tiny =
        (f32::from_bits(magnitude.wrapping_add(REBIAS + (1 << 23))) - f32::from_bits(REBIAS + (1 << 23))).to_bits();
    let finite = if magnitude < 1 << 23 { tiny } else { normal };
    let magnitude = if magnitude < 31 << 23 {
        finite
    } else {
        normal.wrapping_add(REBIAS)
    };
    f32::from_bits(magnitude | (bits & 0x8000) << 16)
}

/// The nearest f16.
#[inline(always)]
pub fn f32_to_f16(x: f32) -> u16 {
    let sign = x.to_bits() & SIGN;
    let magnitude = x.to_bits() & !SIGN;
    // Below 2^-14 the last place is 2^-24, which is that of ½: the addition rounds.
    let tiny = (f32::from_bits(magnitude) + 0.5)
        .to_bits()
        .wrapping_sub(0.5_f32.to_bits());
    let odd = magnitude >> 13 & 1;
    let normal = magnitude.wrapping_sub(REBIAS).wrapping_add(0xfff + odd) >> 13;
    let finite = if magnitude < 113 << 23 { tiny } else { normal };
    let number = if magnitude < 143 << 23 { finite } else { 0x7c00 };
    let nan = 0x7e00 | magnitude >> 13 & 0x3ff;
    let magnitude = if magnitude > INFINITY { nan } else { number };
    (magnitude | sign >> 16) as u16
}

/// The value of a bf16.
#[inline(always)]
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest bf16.
#[inline(always)]
pub fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let number = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let nan = bits | 0x0040_0000;
    ((if bits & !SIGN > INFINITY { nan } else { number }) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::half::{bf16, f16};

    /// Every value of both types, against the crate `half`.
    #[test]
    fn to_f32_is_exact() {
        for bits in 0..=u16::MAX {
            let (x, y) = (f16::from_bits(bits), bf16::from_bits(bits));
            assert_eq!(f16_to_f32(bits).is_nan(), x.is_nan(), "{bits:#x}");
            assert_eq!(bf16_to_f32(bits).is_nan(), y.is_nan(), "{bits:#x}");
            if !x.is_nan() {
                assert_eq!(f16_to_f32(bits).to_bits(), x.to_f32().to_bits(), "{bits:#x}");
                assert_eq!(f32_to_f16(f16_to_f32(bits)), bits);
            }
            if !y.is_nan() {
                assert_eq!(bf16_to_f32(bits).to_bits(), y.to_f32().to_bits(), "{bits:#x}");
                assert_eq!(f32_to_bf16(bf16_to_f32(bits)), bits);
            }
        }
    }

    /// The exponents and signs with significands around every tie and border, against the crate `half`.
    #[test]
    fn from_f32_rounds_to_nearest_even() {
        for high in 0..=0x1fff_u32 {
            for low in [
                0, 1, 0xfff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001, 0x1_7fff, 0x1_8000, 0x2_ffff, 0x7_ffff,
            ] {
                let x = f32::from_bits(high << 19 | low);
                let (f, b) = (f16::from_f32(x), bf16::from_f32(x));
                assert_eq!(f32_to_f16(x), f.to_bits(), "{x:e} {:#x}", x.to_bits());
                assert_eq!(f32_to_bf16(x), b.to_bits(), "{x:e} {:#x}", x.to_bits());
            }
        }
        assert_eq!(f32_to_f16(f32::NAN), f16::NAN.to_bits());
        assert_eq!(f32_to_bf16(f32::NAN), bf16::NAN.to_bits());
        assert_eq!(f32_to_f16(65_520.0), 0x7c00);
        assert_eq!(f32_to_f16(65_519.996), 0x7bff);
    }
}
