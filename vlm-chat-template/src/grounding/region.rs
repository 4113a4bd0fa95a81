//! Places in a picture.

use serde::{Deserialize, Serialize};

/// A rectangle in shares of a picture's width and height, `(0, 0)` at the top left.
///
/// In JSON it is `[x0, y0, x1, y1]`.
///
/// ```
/// use vlm_chat_template::grounding::BoundingBox;
///
/// let right_half = BoundingBox::new(0.5, 0.0, 1.0, 1.0);
/// assert_eq!(right_half.to_pixels(480, 640), [320.0, 0.0, 640.0, 480.0]);
/// assert_eq!(BoundingBox::from_pixels([320.0, 0.0, 640.0, 480.0], 480, 640), right_half);
/// assert_eq!(serde_json::to_string(&right_half)?, "[0.5,0.0,1.0,1.0]");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 4]", into = "[f64; 4]")]
pub struct BoundingBox {
    /// Left edge.
    pub x0: f64,
    /// Upper edge.
    pub y0: f64,
    /// Right edge.
    pub x1: f64,
    /// Lower edge.
    pub y1: f64,
}

/// A point in shares of a picture's width and height, `(0, 0)` at the top left.
///
/// In JSON it is `[x, y]`.
///
/// ```
/// use vlm_chat_template::grounding::Point;
///
/// let middle = Point::new(0.5, 0.5);
/// assert_eq!(middle.to_pixels(480, 640), [320.0, 240.0]);
/// assert_eq!(Point::from_pixels([320.0, 240.0], 480, 640), middle);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 2]", into = "[f64; 2]")]
pub struct Point {
    /// From the left.
    pub x: f64,
    /// From the top.
    pub y: f64,
}

impl BoundingBox {
    /// A box from its left, upper, right and lower edges.
    pub const fn new(x0: f64, y0: f64, x1: f64, y1: f64) -> Self {
        Self { x0, y0, x1, y1 }
    }

    /// A box from edges in pixels of a picture of `height` × `width`.
    pub fn from_pixels([x0, y0, x1, y1]: [f64; 4], height: usize, width: usize) -> Self {
        let (height, width) = (height as f64, width as f64);
        Self::new(x0 / width, y0 / height, x1 / width, y1 / height)
    }

    /// The edges `[x0, y0, x1, y1]` in pixels of a picture of `height` × `width`, none outside of it.
    pub fn to_pixels(self, height: usize, width: usize) -> [f64; 4] {
        let [left, top] = Point::new(self.x0, self.y0).to_pixels(height, width);
        let [right, bottom] = Point::new(self.x1, self.y1).to_pixels(height, width);
        [left, top, right, bottom]
    }
}

impl Point {
    /// A point from its distances to the left and the upper edge.
    pub const fn new(x: f64, y: f64) -> Self {
        Self { x, y }
    }

    /// A point from pixels of a picture of `height` × `width`.
    pub fn from_pixels([x, y]: [f64; 2], height: usize, width: usize) -> Self {
        Self::new(x / width as f64, y / height as f64)
    }

    /// `[x, y]` in pixels of a picture of `height` × `width`, not outside of it.
    pub fn to_pixels(self, height: usize, width: usize) -> [f64; 2] {
        let scaled = |share: f64, side: usize| share.clamp(0.0, 1.0) * side as f64;
        [scaled(self.x, width), scaled(self.y, height)]
    }
}

impl From<[f64; 4]> for BoundingBox {
    fn from([x0, y0, x1, y1]: [f64; 4]) -> Self {
        Self::new(x0, y0, x1, y1)
    }
}

impl From<BoundingBox> for [f64; 4] {
    fn from(edges: BoundingBox) -> Self {
        [edges.x0, edges.y0, edges.x1, edges.y1]
    }
}

impl From<[f64; 2]> for Point {
    fn from([x, y]: [f64; 2]) -> Self {
        Self::new(x, y)
    }
}

impl From<Point> for [f64; 2] {
    fn from(point: Point) -> Self {
        [point.x, point.y]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_stay_in_the_picture() {
        let wild = BoundingBox::new(-0.5, 0.25, 7.0, f64::INFINITY);
        assert_eq!(wild.to_pixels(8, 4), [0.0, 2.0, 4.0, 8.0]);
    }
}
