//! Bounds on single values, so that what could never work is refused where it stands.
//!
//! Each key names its bound beside its type: `#[serde(with = "Count::<1, 65_535>")]`, `#[serde(with = "Time::<1, DAY>")]`,
//! `#[serde(deserialize_with = "bound::text")]`. What is refused says what can be written instead.

use std::{fmt, marker::PhantomData, path::PathBuf, time::Duration};

use serde::{
    Deserializer, Serialize, Serializer,
    de::{self, Unexpected, Visitor},
};

/// An hour in milliseconds, for bounds on durations.
pub const HOUR: u64 = 60 * 60 * 1000;

/// A day in milliseconds: longer than any wait here needs to be, and far from where sums of times overflow.
pub const DAY: u64 = 24 * HOUR;

/// For `#[serde(with)]`: a whole number within bounds, both included.
pub struct Count<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Count<MIN, MAX> {
    /// Reads it.
    pub fn deserialize<'de, N: TryFrom<u64>, D: Deserializer<'de>>(deserializer: D) -> Result<N, D::Error> {
        deserializer.deserialize_u64(CountVisitor::<MIN, MAX, N>(PhantomData))
    }

    /// Writes it.
    pub fn serialize<N: Serialize, S: Serializer>(number: &N, serializer: S) -> Result<S::Ok, S::Error> {
        number.serialize(serializer)
    }
}

struct CountVisitor<const MIN: u64, const MAX: u64, N>(PhantomData<N>);

impl<const MIN: u64, const MAX: u64, N: TryFrom<u64>> Visitor<'_> for CountVisitor<MIN, MAX, N> {
    type Value = N;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a whole number from {MIN} to {MAX}")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<N, E> {
        let fits = Some(number).filter(|number| (MIN..=MAX).contains(number)).and_then(|number| number.try_into().ok());
        fits.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<N, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}

/// For `#[serde(with)]`: a duration such as `30s` within bounds in milliseconds, both included.
pub struct Time<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Time<MIN, MAX> {
    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        deserializer.deserialize_str(TimeVisitor::<MIN, MAX>)
    }

    /// Writes it.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }
}

struct TimeVisitor<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Visitor<'_> for TimeVisitor<MIN, MAX> {
    type Value = Duration;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a duration from {} to {} with its unit, such as 30s", Words(MIN), Words(MAX))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        let bounds = Duration::from_millis(MIN)..=Duration::from_millis(MAX);
        let duration = humantime::parse_duration(text).ok().filter(|duration| bounds.contains(duration));
        duration.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// Milliseconds in the largest unit that says them in one word.
struct Words(u64);

impl fmt::Display for Words {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(DAY, "days"), (HOUR, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
        match units.iter().find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(formatter, "{}{name}", self.0 / unit),
            None => formatter.write_str("0s"),
        }
    }
}

/// For `#[serde(deserialize_with)]`: a share, from 0 to 1.
pub fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    deserializer.deserialize_f64(ShareVisitor)
}

struct ShareVisitor;

impl Visitor<'_> for ShareVisitor {
    type Value = f64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number from 0 to 1")
    }

    fn visit_f64<E: de::Error>(self, share: f64) -> Result<f64, E> {
        // Written so that what is no number is refused as well.
        if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(E::invalid_value(Unexpected::Float(share), &self)) }
    }

    fn visit_i64<E: de::Error>(self, share: i64) -> Result<f64, E> {
        match share {
            0 => Ok(0.0),
            1 => Ok(1.0),
            _ => Err(E::invalid_value(Unexpected::Signed(share), &self)),
        }
    }
}

/// For `#[serde(deserialize_with)]`: text with something in it. For an optional key, add `default`.
pub fn text<'de, T: From<String>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_str(TextVisitor("text with something in it, or leave the key out")).map(T::from)
}

/// For `#[serde(deserialize_with)]`: a list of texts, each with something in it. For an optional key, add `default`.
pub fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    const TEXTS: &str = "a list of texts, each with something in it, or leave the key out";
    let texts: Vec<String> = de::Deserialize::deserialize(deserializer)?;
    if texts.is_empty() {
        return Err(de::Error::invalid_length(0, &TEXTS));
    }
    texts.iter().map(|text| TextVisitor(TEXTS).visit_str(text)).collect()
}

/// For `#[serde(deserialize_with)]`: the path of a file. For an optional key, add `default`.
pub fn file<'de, T: From<PathBuf>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let path = deserializer.deserialize_str(TextVisitor(FILE))?;
    Ok(T::from(PathBuf::from(path)))
}

/// For `#[serde(deserialize_with)]`: a list of paths of files.
pub fn files<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    struct File(PathBuf);
    impl<'de> de::Deserialize<'de> for File {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            file(deserializer).map(Self)
        }
    }
    let files: Vec<File> = de::Deserialize::deserialize(deserializer)?;
    Ok(files.into_iter().map(|file| file.0).collect())
}

const FILE: &str = "the path of a file, or leave the key out";

struct TextVisitor(&'static str);

impl Visitor<'_> for TextVisitor {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        let is_usable = !text.trim().is_empty() && !text.contains('\0');
        if is_usable { Ok(text.to_owned()) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
    }
}
