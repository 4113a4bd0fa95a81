use super::canvas::{Paint, mix};

/// How a shape is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Texture {
    Plain,
    Striped,
    Dotted,
    Checked,
}

/// Every texture.
pub const TEXTURES: [Texture; 4] = [
    Texture::Plain,
    Texture::Striped,
    Texture::Dotted,
    Texture::Checked,
];

impl Texture {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Striped => "striped",
            Self::Dotted => "dotted",
            Self::Checked => "checked",
        }
    }

    /// The colour at a point of the square from -1 to 1, of a thing that is mostly `paint`.
    pub fn paint(self, x: f32, y: f32, paint: Paint) -> Paint {
        let odd = |v: f32| (v * 2.5).floor().rem_euclid(2.0) == 1.0;
        let other = match self {
            Self::Plain => false,
            Self::Striped => odd(x + y),
            Self::Checked => odd(x) != odd(y),
            Self::Dotted => {
                let near = |v: f32| v * 2.2 - (v * 2.2).round();
                near(x).hypot(near(y)) < 0.3
            }
        };
        if !other {
            return paint;
        }
        // Towards white, and for light things towards black: the colour keeps its name.
        let light = paint.iter().sum::<f32>() > 2.1;
        mix(paint, if light { [0.0; 3] } else { [1.0; 3] }, 0.45)
    }
}
