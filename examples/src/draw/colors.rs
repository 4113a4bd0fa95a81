use image::Rgb;

/// Edges of lines and plates, and words on bright plates.
pub const DARK: Rgb<u8> = Rgb([0, 0, 0]);

const LIGHT: Rgb<u8> = Rgb([255, 255, 255]);

/// Told apart by lightness too, so that they differ for people who see few colours.
const FIRST: [Rgb<u8>; 8] = [
    Rgb([255, 176, 0]),
    Rgb([60, 180, 255]),
    Rgb([255, 90, 130]),
    Rgb([70, 225, 130]),
    Rgb([255, 245, 90]),
    Rgb([190, 140, 255]),
    Rgb([255, 125, 50]),
    Rgb([110, 240, 240]),
];

/// The colour of an entity by its number.
pub fn color(index: usize) -> Rgb<u8> {
    match FIRST.get(index) {
        Some(color) => *color,
        // Hues a golden angle apart fall between all that were there before.
        None => light((index as f64 * 137.508) % 360.0, [0.66, 0.84][index % 2]),
    }
}

/// The colour of words on a plate of `color`: whichever has more contrast (WCAG 2.2's relative luminance).
pub fn ink(color: Rgb<u8>) -> Rgb<u8> {
    let light = luminance(color);
    match (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) {
        true => DARK,
        false => LIGHT,
    }
}

/// HSL with a saturation of 0.9, hue in degrees.
fn light(hue: f64, lightness: f64) -> Rgb<u8> {
    let depth = 0.9 * lightness.min(1.0 - lightness);
    let channel = |offset: f64| {
        let k = (offset + hue / 30.0) % 12.0;
        let value = lightness - depth * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0);
        (value * 255.0).round() as u8
    };
    Rgb([channel(0.0), channel(8.0), channel(4.0)])
}

fn luminance(Rgb(channels): Rgb<u8>) -> f64 {
    let linear = channels.map(|channel| {
        let value = f64::from(channel) / 255.0;
        match value <= 0.04045 {
            true => value / 12.92,
            false => ((value + 0.055) / 1.055).powf(2.4),
        }
    });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_differ_and_words_are_read() {
        let distance = |a: Rgb<u8>, b: Rgb<u8>| -> i32 {
            let channels = a.0.iter().zip(b.0);
            channels.map(|(a, b)| i32::from(a.abs_diff(b))).sum()
        };
        for a in 0..24 {
            for b in 0..a {
                let (one, other) = (color(a), color(b));
                assert!(distance(one, other) > 15, "{a} {one:?} and {b} {other:?}");
            }
            // 4.5 is WCAG's AA, 7 its AAA.
            let contrast = (luminance(color(a)) + 0.05) / (luminance(ink(color(a))) + 0.05);
            assert!(contrast > 5.0, "{a}: {contrast}");
        }
        assert_eq!((ink(LIGHT), ink(DARK)), (DARK, LIGHT));
    }
}
