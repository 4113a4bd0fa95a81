//! The sizes that configurations ask for.

use serde_json::Value;
use vlm_core::{ConfigReader, Error, Size};

/// How the new size of a picture follows from its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SizeRule {
    /// `{"height", "width"}`: always this size.
    Exact(Size),
    /// `{"shortest_edge"}`: the shorter side gets this length, the longer one keeps the aspect ratio.
    ShortestEdge(usize),
    /// `{"shortest_edge", "longest_edge"}`: as [`ShortestEdge`](Self::ShortestEdge), but smaller where
    /// the longer side would pass the second length.
    ShortestEdgeWithin(usize, usize),
    /// `{"max_height", "max_width"}`: the largest size of the same aspect ratio that fits.
    Within(Size),
}

impl SizeRule {
    /// The new size. Fractions are cut off, so a side of a very long picture can become 0.
    ///
    /// ```
    /// use vlm_core::Size;
    /// use vlm_vision::processor::SizeRule;
    /// let photograph = Size::new(480, 640);
    /// assert_eq!(SizeRule::ShortestEdge(336).apply(photograph), Size::new(336, 448));
    /// assert_eq!(SizeRule::Within(Size::new(336, 336)).apply(photograph), Size::new(252, 336));
    /// ```
    pub fn apply(self, old: Size) -> Size {
        match self {
            Self::Exact(size) => size,
            Self::ShortestEdge(edge) => {
                let longer =
                    |long: usize, short: usize| (edge as f64 * long as f64 / short as f64) as usize;
                match old.width <= old.height {
                    true => Size::new(longer(old.height, old.width), edge),
                    false => Size::new(edge, longer(old.width, old.height)),
                }
            }
            Self::ShortestEdgeWithin(edge, limit) => shortest_edge_within(old, edge, limit as f64),
            Self::Within(limit) => {
                let height = limit.height as f64 / old.height as f64;
                let scale = height.min(limit.width as f64 / old.width as f64);
                let scaled = |side: usize| (side as f64 * scale) as usize;
                Size::new(scaled(old.height), scaled(old.width))
            }
        }
    }

    /// Reads `key` in any form that the reference reads: an object, two numbers, or one number, which
    /// is a square if `square`, else the shorter side.
    pub(super) fn read(
        keys: &mut ConfigReader,
        key: &str,
        square: bool,
    ) -> Result<Option<Self>, Error> {
        let wrong = "expected a whole number above 0, two of them, or an object of them";
        match keys.peek(key) {
            None => Ok(None),
            Some(Value::Object(_)) => {
                let object = keys.object(key)?.ok_or_else(|| Error::key(key, wrong))?;
                read_object(object, key).map(Some)
            }
            Some(Value::Array(_)) => match keys.get::<[usize; 2]>(key)? {
                Some([height, width]) if height > 0 && width > 0 => {
                    Ok(Some(Self::Exact(Size::new(height, width))))
                }
                _ => Err(keys.error(key, wrong)),
            },
            Some(_) => match keys.get::<usize>(key)? {
                Some(0) | None => Err(keys.error(key, wrong)),
                Some(side) if square => Ok(Some(Self::Exact(Size::new(side, side)))),
                Some(edge) => Ok(Some(Self::ShortestEdge(edge))),
            },
        }
    }
}

fn read_object(mut keys: ConfigReader, key: &str) -> Result<SizeRule, Error> {
    let mut side = |name: &str| match keys.get::<usize>(name)? {
        Some(0) => Err(keys.error(name, "expected a whole number above 0, found 0")),
        side => Ok(side),
    };
    let exact = (side("height")?, side("width")?);
    let edges = (side("shortest_edge")?, side("longest_edge")?);
    let limits = (side("max_height")?, side("max_width")?);
    keys.finish()?;
    match (exact, edges, limits) {
        ((Some(height), Some(width)), (None, None), (None, None)) => {
            Ok(SizeRule::Exact(Size::new(height, width)))
        }
        ((None, None), (Some(edge), None), (None, None)) => Ok(SizeRule::ShortestEdge(edge)),
        ((None, None), (Some(edge), Some(limit)), (None, None)) => {
            Ok(SizeRule::ShortestEdgeWithin(edge, limit))
        }
        ((None, None), (None, None), (Some(height), Some(width))) => {
            Ok(SizeRule::Within(Size::new(height, width)))
        }
        _ => Err(Error::key(
            key,
            "expected height and width, or shortest_edge with or without longest_edge, or max_height and max_width",
        )),
    }
}

fn shortest_edge_within(old: Size, edge: usize, limit: f64) -> Size {
    let short = old.height.min(old.width);
    let long = old.height.max(old.width) as f64;
    let mut exact = edge as f64;
    if long / short as f64 * exact > limit {
        exact = limit * short as f64 / long;
    }
    // The shorter side is rounded, half to even, and the longer one follows from the exact length.
    let edge = exact.round_ties_even() as usize;
    if edge == short {
        return old;
    }
    let longer = |long: usize, short: usize| (exact * long as f64 / short as f64) as usize;
    match old.width < old.height {
        true => Size::new(longer(old.height, old.width), edge),
        false => Size::new(edge, longer(old.width, old.height)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value, square: bool) -> Result<Option<SizeRule>, Error> {
        let mut keys = ConfigReader::new(json!({ "size": value }))?;
        SizeRule::read(&mut keys, "size", square)
    }

    #[test]
    fn every_form_of_the_reference_is_read() {
        let cases = [
            (json!(224), false, SizeRule::ShortestEdge(224)),
            (json!(224), true, SizeRule::Exact(Size::new(224, 224))),
            (json!([7, 9]), false, SizeRule::Exact(Size::new(7, 9))),
            (
                json!({ "height": 7, "width": 9 }),
                false,
                SizeRule::Exact(Size::new(7, 9)),
            ),
            (
                json!({ "shortest_edge": 7, "longest_edge": null }),
                true,
                SizeRule::ShortestEdge(7),
            ),
            (
                json!({ "shortest_edge": 7, "longest_edge": 9 }),
                true,
                SizeRule::ShortestEdgeWithin(7, 9),
            ),
            (
                json!({ "max_height": 7, "max_width": 9 }),
                true,
                SizeRule::Within(Size::new(7, 9)),
            ),
        ];
        for (value, square, rule) in cases {
            assert_eq!(read(value, square).unwrap(), Some(rule));
        }
        assert_eq!(read(json!(null), true).unwrap(), None);
    }

    #[test]
    fn what_is_no_size_is_refused() {
        let refused = |value, message: &str| {
            let error = read(value, false).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        };
        refused(json!(0), "key `size`: expected a whole number above 0");
        refused(json!([0, 3]), "key `size`: expected a whole number above 0");
        refused(json!([3]), "key `size`: invalid length 1");
        refused(json!(2.5), "key `size`: invalid type: floating point `2.5`");
        refused(json!("big"), "key `size`: invalid type: string \"big\"");
        refused(
            json!({ "height": 0, "width": 3 }),
            "key `size.height`: expected a whole number above 0",
        );
        refused(
            json!({ "height": 3 }),
            "key `size`: expected height and width, or",
        );
        refused(
            json!({ "longest_edge": 3 }),
            "key `size`: expected height and width, or",
        );
        refused(
            json!({ "height": 3, "width": 3, "shortest_edge": 3 }),
            "key `size`: expected",
        );
        refused(json!({ "min_pixels": 3, "max_pixels": 9 }), "key `size.m");
    }

    #[test]
    fn a_square_under_a_limit_is_rounded_on_one_side_only() {
        let rule = SizeRule::ShortestEdgeWithin(100, 75);
        assert_eq!(rule.apply(Size::new(90, 90)), Size::new(75, 75));
        assert_eq!(rule.apply(Size::new(100, 200)), Size::new(38, 75));
        assert_eq!(rule.apply(Size::new(1, 1000)), Size::new(0, 75));
    }
}
