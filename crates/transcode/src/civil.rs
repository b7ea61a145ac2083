//! Days and dates of the proleptic Gregorian calendar, by the method of
//! <https://howardhinnant.github.io/date_algorithms.html>: years begin in March, so that the leap day comes last.

/// Days of an era of 400 years.
const ERA: i64 = 146_097;
/// From the first of March of year 0 to the first of January 1970.
const EPOCH: i64 = 719_468;

/// Days since 1970-01-01; `None` if there is no such date.
pub(crate) fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || day < 1 {
        return None;
    }
    let shifted = year - i64::from(month <= 2);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = shifted.div_euclid(400) * ERA + day_of_era - EPOCH;
    // A day that its month does not have lands in the next.
    (date(days) == (year, month, day)).then_some(days)
}

/// Year, month and day.
pub(crate) fn date(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH;
    let day_of_era = days.rem_euclid(ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12 + 1;
    (days.div_euclid(ERA) * 400 + year_of_era + i64::from(month <= 2), month, day)
}
