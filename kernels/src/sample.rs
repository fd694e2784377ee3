//! Stored samples and the real values that they stand for.

/// A stored sample.
pub trait Sample: Copy {
    /// The sample as a number; integers past 2^24 are rounded to the nearest 32-bit float.
    fn number(self) -> f32;
}

macro_rules! samples {
    ($($kind:ty),*) => {$(
        impl Sample for $kind {
            #[inline]
            fn number(self) -> f32 {
                self as f32
            }
        }
    )*};
}
samples!(u8, i8, u16, i16, u32, i32, f32);

/// Stored values to real ones: `x * slope + intercept` (PS3.3 C.11.1.1.2).
///
/// Worked: slope 2, intercept -1024: 600 → 176.
pub fn rescale<T: Sample>(samples: &[T], slope: f32, intercept: f32) -> Vec<f32> {
    samples.iter().map(|sample| sample.number() * slope + intercept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stored_kind_is_rescaled() {
        assert_eq!(rescale(&[600i16, -2], 2.0, -1024.0), [176.0, -1028.0]);
        assert_eq!(rescale(&[65535u16], 1.0, 0.0), [65535.0]);
        assert_eq!(rescale(&[255u8], 0.5, 0.0), [127.5]);
        assert_eq!(rescale(&[-70000i32], 1.0, 0.0), [-70000.0]);
    }
}
