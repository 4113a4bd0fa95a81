//! `strftime_now`: Python's `datetime.now().strftime(…)`.

use std::{fmt, sync::Arc};

use chrono::{Local, NaiveDateTime, format::Item, format::StrftimeItems};

/// Where `strftime_now` reads the time: the machine's local time, or a given one.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> NaiveDateTime + Send + Sync>);

impl Default for Clock {
    fn default() -> Self {
        Clock::new(|| Local::now().naive_local())
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl Clock {
    pub(crate) fn new(now: impl Fn() -> NaiveDateTime + Send + Sync + 'static) -> Self {
        Clock(Arc::new(now))
    }

    pub(crate) fn strftime_now(&self, format: &str) -> String {
        strftime((self.0)(), format)
    }
}

/// Formats one directive at a time, because Python and chrono differ in what they do with some
/// (`%f`, `%Z` of a time without a zone) and with unknown ones (Python keeps them, chrono fails).
fn strftime(now: NaiveDateTime, format: &str) -> String {
    let mut text = String::with_capacity(format.len() + 16);
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let flagged = usize::from(rest[1..].starts_with(['-', '_', '0']));
        let Some(letter) = rest[1 + flagged..].chars().next() else {
            break;
        };
        let (directive, after) = rest.split_at(1 + flagged + letter.len_utf8());
        rest = after;
        match letter {
            'f' => text.push_str(&format!("{:06}", now.and_utc().timestamp_subsec_micros())),
            'z' | 'Z' => {}
            '+' | 'v' | 'q' | 'Q' | ':' | '.' | '#' => text.push_str(directive),
            _ => {
                let items: Vec<Item<'_>> = StrftimeItems::new(directive).collect();
                match items.contains(&Item::Error) {
                    true => text.push_str(directive),
                    false => text.push_str(&now.format_with_items(items.iter()).to_string()),
                }
            }
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_follow_python() {
        let time = chrono::NaiveDate::from_ymd_opt(2026, 3, 5).unwrap();
        let time = time.and_hms_micro_opt(7, 8, 9, 1234).unwrap();
        for (format, text) in [
            ("%d %b %Y", "05 Mar 2026"),
            ("%-d %B %y, %A %a", "5 March 26, Thursday Thu"),
            ("%H:%M:%S.%f %I %p", "07:08:09.001234 07 AM"),
            ("%e|%j|%%|%Z%z|%Q|%", " 5|064|%||%Q|%"),
            (
                "%c|%x|%X|%D|%F|%T",
                "Thu Mar  5 07:08:09 2026|03/05/26|07:08:09|03/05/26|2026-03-05|07:08:09",
            ),
            ("é%", "é%"),
            ("%é", "%é"),
        ] {
            assert_eq!(strftime(time, format), text, "{format}");
        }
    }
}
