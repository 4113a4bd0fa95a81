use rand::{Rng, seq::IndexedRandom};

use super::canvas::Paint;

/// A colour with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Colour {
    /// What it is called.
    pub name: &'static str,
    rgb: [u8; 3],
}

/// Every colour that has a name here.
pub const COLOURS: [Colour; 10] = [
    colour("red", [214, 40, 40]),
    colour("orange", [242, 142, 28]),
    colour("yellow", [246, 222, 60]),
    colour("green", [46, 150, 66]),
    colour("blue", [44, 88, 214]),
    colour("purple", [136, 60, 176]),
    colour("pink", [244, 134, 182]),
    colour("brown", [124, 76, 42]),
    colour("black", [24, 24, 26]),
    colour("white", [248, 248, 246]),
];

/// The darkest.
pub const BLACK: Colour = COLOURS[8];

const fn colour(name: &'static str, rgb: [u8; 3]) -> Colour {
    Colour { name, rgb }
}

impl Colour {
    /// The colour of one thing, near the named one.
    pub fn paint(self, random: &mut impl Rng) -> Paint {
        let lighter = random.random_range(-0.04f32..0.04);
        self.rgb.map(|v| {
            let own = random.random_range(-0.02f32..0.02);
            (f32::from(v) / 255.0 + lighter + own).clamp(0.0, 1.0)
        })
    }

    /// Whether it stands out from `ground`.
    pub fn stands_out(self, ground: Paint) -> bool {
        let plain = self.rgb.map(|v| f32::from(v) / 255.0);
        let squares = plain.iter().zip(ground).map(|(a, b)| (a - b) * (a - b));
        squares.sum::<f32>().sqrt() > 0.42
    }
}

/// A colour that stands out from `ground`.
pub fn visible(ground: Paint, random: &mut impl Rng) -> Colour {
    let candidates: Vec<Colour> = COLOURS
        .into_iter()
        .filter(|c| c.stands_out(ground))
        .collect();
    *candidates
        .choose(random)
        .expect("some colour stands out from any ground")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_colours_stand_out_from_any_grey() {
        for grey in 0..=20 {
            let ground = [grey as f32 / 20.0; 3];
            let count = COLOURS.iter().filter(|c| c.stands_out(ground)).count();
            assert!(count >= 5, "{count} on {ground:?}");
        }
    }
}
