/// The ninth of the picture that a point is in, unless it is near a border between two.
pub fn place([x, y]: [f32; 2]) -> Option<&'static str> {
    let third = |v: f32| {
        let clear = [1.0 / 3.0, 2.0 / 3.0]
            .iter()
            .all(|border| (v - border).abs() > 0.045);
        clear.then_some((v * 3.0) as usize)
    };
    const PLACES: [[&str; 3]; 3] = [
        ["top left", "top", "top right"],
        ["left", "middle", "right"],
        ["bottom left", "bottom", "bottom right"],
    ];
    Some(PLACES[third(y)?.min(2)][third(x)?.min(2)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_clear_or_not_told() {
        assert_eq!(place([0.1, 0.5]), Some("left"));
        assert_eq!(place([0.9, 0.9]), Some("bottom right"));
        assert_eq!(place([1.0, 0.0]), Some("top right"));
        assert_eq!(place([0.35, 0.5]), None);
    }
}
