use image::RgbImage;

/// Pixels from `x0` to before `x1` and from `y0` to before `y1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    pub x0: i32,
    pub y0: i32,
    pub x1: i32,
    pub y1: i32,
}

impl Area {
    /// An area at the origin.
    pub fn sized(width: i32, height: i32) -> Self {
        Self {
            x0: 0,
            y0: 0,
            x1: width,
            y1: height,
        }
    }

    /// All of a picture.
    pub fn of(picture: &RgbImage) -> Self {
        Self::sized(picture.width() as i32, picture.height() as i32)
    }

    pub fn width(self) -> i32 {
        self.x1 - self.x0
    }

    pub fn height(self) -> i32 {
        self.y1 - self.y0
    }

    pub fn is_empty(self) -> bool {
        self.x1 <= self.x0 || self.y1 <= self.y0
    }

    /// Number of pixels.
    pub fn pixels(self) -> i64 {
        match self.is_empty() {
            true => 0,
            false => i64::from(self.width()) * i64::from(self.height()),
        }
    }

    /// The same size with its upper left corner at `x`, `y`.
    pub fn at(self, x: i32, y: i32) -> Self {
        Self {
            x0: x,
            y0: y,
            x1: x + self.width(),
            y1: y + self.height(),
        }
    }

    /// Wider and higher by `by` on each side; smaller where it is negative.
    pub fn grown(self, by: i32) -> Self {
        Self {
            x0: self.x0 - by,
            y0: self.y0 - by,
            x1: self.x1 + by,
            y1: self.y1 + by,
        }
    }

    /// What both have.
    pub fn within(self, other: Self) -> Self {
        Self {
            x0: self.x0.max(other.x0),
            y0: self.y0.max(other.y0),
            x1: self.x1.min(other.x1),
            y1: self.y1.min(other.y1),
        }
    }

    pub fn contains(self, other: Self) -> bool {
        self.within(other) == other
    }
}
