//! Bounds on single values, so that what could never work is refused where it stands.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de};

/// Longer than anybody waits for anything here, and far from where sums of times overflow.
const LONGEST: Duration = Duration::from_hours(24 * 365 * 10);

/// For `#[serde(with)]`: a duration such as `30s`, longer than none and no longer than ten years.
pub mod duration {
    use super::{Deserializer, Duration, LONGEST, Serializer, de};

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let duration: Duration = humantime_serde::deserialize(deserializer)?;
        if duration.is_zero() || duration > LONGEST {
            return Err(de::Error::custom("this must be longer than 0s and no longer than 10years"));
        }
        Ok(duration)
    }

    /// Writes it.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        humantime_serde::serialize(duration, serializer)
    }
}

/// For `#[serde(deserialize_with)]`: a number of things that is not 0.
pub fn positive<'de, N, D>(deserializer: D) -> Result<N, D::Error>
where
    N: Deserialize<'de> + Default + PartialEq,
    D: Deserializer<'de>,
{
    let number = N::deserialize(deserializer)?;
    if number == N::default() { Err(de::Error::custom("this must be more than 0")) } else { Ok(number) }
}

/// For `#[serde(deserialize_with)]`: a share, from 0 to 1.
pub fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let share = f64::deserialize(deserializer)?;
    // Written so that what is no number is refused as well.
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(de::Error::custom("this must be from 0 to 1")) }
}
