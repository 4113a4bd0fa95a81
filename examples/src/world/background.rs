use rand::{Rng, seq::IndexedRandom};

use super::canvas::{Canvas, Paint, mix};

/// What things stand in front of: plain or a gradient, with or without grain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Background {
    top: Paint,
    bottom: Paint,
    grain: f32,
    seed: u64,
}

/// Quiet colours that no thing has.
const GROUNDS: [[u8; 3]; 8] = [
    [226, 226, 224],
    [236, 228, 208],
    [204, 216, 228],
    [206, 220, 204],
    [150, 152, 156],
    [96, 98, 104],
    [58, 62, 74],
    [66, 58, 54],
];

impl Background {
    /// Some background.
    pub fn random(random: &mut impl Rng) -> Self {
        Self::of(&GROUNDS, random)
    }

    /// A light one.
    pub fn light(random: &mut impl Rng) -> Self {
        Self::of(&GROUNDS[..4], random)
    }

    fn of(grounds: &[[u8; 3]], random: &mut impl Rng) -> Self {
        let ground = |random: &mut _| -> Paint {
            let rgb = grounds.choose(random).expect("there are grounds");
            rgb.map(|v| f32::from(v) / 255.0)
        };
        let top = ground(random);
        let shade = random.random_range(-0.08f32..0.08);
        let bottom = match random.random_bool(0.5) {
            true => top,
            false => top.map(|v| (v + shade).clamp(0.0, 1.0)),
        };
        Self {
            top,
            bottom,
            grain: if random.random_bool(0.3) { 0.03 } else { 0.0 },
            seed: random.random(),
        }
    }

    /// The colour between its ends: what things have to stand out from.
    pub fn middle(&self) -> Paint {
        mix(self.top, self.bottom, 0.5)
    }

    /// Light things are drawn on a dark ground and dark ones on a light one.
    pub fn is_dark(&self) -> bool {
        self.middle().iter().sum::<f32>() < 1.5
    }

    /// A canvas of `side` × `side` pixels with this background.
    pub fn canvas(&self, side: usize) -> Canvas {
        let mut canvas = Canvas::new(side, |_, y| mix(self.top, self.bottom, y));
        if self.grain > 0.0 {
            let mut random = super::split::seeded(self.seed);
            canvas.map(|paint| {
                let grain = random.random_range(-self.grain..self.grain);
                paint.map(|v| v + grain)
            });
        }
        canvas
    }
}
