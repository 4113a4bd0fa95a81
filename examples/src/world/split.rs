use rand::{SeedableRng, rngs::StdRng};

use super::{
    colour::{COLOURS, Colour},
    shape::{SHAPES, Shape},
};

/// Which pictures a world shows.
///
/// In the training split, pairs of [`is_rare`](Self::is_rare), the words of `HELD_OUT_WORDS` and a fifth of
/// the handwritten digits are neither drawn nor named. The held-out split has everything, and every other of
/// its scenes is about what training never saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// To learn from.
    Train,
    /// To be judged by.
    HeldOut,
}

/// English words that no training picture shows.
pub const HELD_OUT_WORDS: [&str; 100] = [
    "ACORN", "APPLE", "ARROW", "BAKER", "BEACH", "BERRY", "BIRD", "BLOCK", "BOAT", "BREAD",
    "BRICK", "BRUSH", "CABIN", "CAKE", "CAMEL", "CANDY", "CHAIR", "CLOUD", "COAST", "CROWN",
    "DAISY", "DESK", "DOOR", "DREAM", "DUCK", "EAGLE", "EARTH", "FARM", "FENCE", "FIELD", "FISH",
    "FLAG", "FLUTE", "FOX", "FROG", "GATE", "GHOST", "GIFT", "GLASS", "GRAPE", "HAT", "HONEY",
    "HORSE", "HOUSE", "ISLE", "JAM", "JUICE", "KEY", "KITE", "KNOT", "LAKE", "LAMP", "LEAF",
    "LEMON", "LION", "MAP", "MAZE", "MILK", "MOON", "MOUSE", "NEST", "NIGHT", "NURSE", "OAK",
    "OCEAN", "OLIVE", "OWL", "PAINT", "PEAR", "PIANO", "PLANT", "QUEEN", "QUILT", "RAIN", "RIVER",
    "ROBIN", "ROSE", "SALT", "SHEEP", "SHIP", "SNOW", "SPOON", "STONE", "TABLE", "TIGER", "TOWER",
    "TRAIN", "TREE", "UNCLE", "URN", "VASE", "VIOLA", "WAGON", "WATER", "WHALE", "WOLF", "XYLEM",
    "YARN", "ZEBRA", "ZOO",
];

impl Split {
    /// Whether a pair is shown in the held-out split alone: one in eight, of every shape and every colour.
    pub fn is_rare(colour: Colour, shape: Shape) -> bool {
        let colour = COLOURS.iter().position(|c| *c == colour).unwrap_or(0);
        let shape = SHAPES.iter().position(|s| *s == shape).unwrap_or(0);
        (colour * 3 + shape * 5) % 8 == 0
    }

    /// Whether the split may show and name a pair.
    pub fn allows(self, colour: Colour, shape: Shape) -> bool {
        self == Self::HeldOut || !Self::is_rare(colour, shape)
    }

    /// Random numbers of one example.
    pub fn random(self, seed: u64, index: u64) -> StdRng {
        let split = match self {
            Self::Train => 0,
            Self::HeldOut => 0x94d0_49bb_1331_11eb,
        };
        let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        seeded(split ^ seed.wrapping_add(index.wrapping_mul(0xbf58_476d_1ce4_e5b9)))
    }
}

/// Random numbers from a seed.
pub fn seeded(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_and_every_shape_has_rare_and_usual_pairs() {
        let rare = |colour, shape| Split::is_rare(colour, shape);
        assert!(SHAPES.iter().all(|s| COLOURS.iter().any(|c| rare(*c, *s))));
        assert!(COLOURS.iter().all(|c| SHAPES.iter().any(|s| rare(*c, *s))));
        let count = COLOURS
            .iter()
            .flat_map(|c| SHAPES.iter().filter(|s| rare(*c, **s)));
        assert_eq!(count.count(), 10);
    }

    #[test]
    fn held_out_words_are_short_and_sorted() {
        assert!(HELD_OUT_WORDS.is_sorted());
        assert!(
            HELD_OUT_WORDS
                .iter()
                .all(|word| (3..=5).contains(&word.len()))
        );
    }
}
