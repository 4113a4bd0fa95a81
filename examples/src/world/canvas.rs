use image::{Rgb, RgbImage};

/// A colour while a picture is drawn, each channel from 0 to 1.
pub type Paint = [f32; 3];

/// Samples of a pixel along each axis: edges are smooth.
const SAMPLES: usize = 3;

/// A square picture that is drawn in shares of its side, `(0, 0)` at the top left.
pub struct Canvas {
    side: usize,
    pixels: Vec<Paint>,
}

/// A rectangle in shares of the picture's side: left, top, right, bottom.
pub type Area = [f32; 4];

impl Canvas {
    /// A canvas of `side` × `side` pixels, each as `paint` says for its middle.
    pub fn new(side: usize, paint: impl Fn(f32, f32) -> Paint) -> Self {
        let share = |pixel: usize| (pixel as f32 + 0.5) / side as f32;
        let pixels = (0..side * side).map(|index| paint(share(index % side), share(index / side)));
        Self {
            side,
            pixels: pixels.collect(),
        }
    }

    /// Pixels along a side.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Covers what `paint` gives a colour for; it is asked within `area` alone.
    pub fn cover(&mut self, area: Area, paint: impl Fn(f32, f32) -> Option<Paint>) {
        let side = self.side as f32;
        let first = |share: f32| (share * side).floor().clamp(0.0, side) as usize;
        let last = |share: f32| (share * side).ceil().clamp(0.0, side) as usize;
        for row in first(area[1])..last(area[3]) {
            for column in first(area[0])..last(area[2]) {
                let mut sum = [0.0; 3];
                let mut hits = 0.0;
                for sample in 0..SAMPLES * SAMPLES {
                    let within = |index: usize| (index as f32 + 0.5) / SAMPLES as f32;
                    let x = (column as f32 + within(sample % SAMPLES)) / side;
                    let y = (row as f32 + within(sample / SAMPLES)) / side;
                    if let Some(paint) = paint(x, y) {
                        hits += 1.0;
                        sum = add(sum, paint);
                    }
                }
                if hits > 0.0 {
                    self.blend(column, row, sum.map(|v| v / hits), hits / 9.0);
                }
            }
        }
    }

    /// Lays a colour over a pixel; pixels outside of the picture are nowhere.
    pub fn blend(&mut self, column: usize, row: usize, paint: Paint, coverage: f32) {
        if column < self.side && row < self.side {
            let pixel = &mut self.pixels[row * self.side + column];
            *pixel = mix(*pixel, paint, coverage.clamp(0.0, 1.0));
        }
    }

    /// Changes every pixel.
    pub fn map(&mut self, mut change: impl FnMut(Paint) -> Paint) {
        for pixel in &mut self.pixels {
            *pixel = change(*pixel);
        }
    }

    /// The picture in eight bits.
    pub fn image(&self) -> RgbImage {
        let side = self.side as u32;
        RgbImage::from_fn(side, side, |x, y| {
            let pixel = self.pixels[y as usize * self.side + x as usize];
            Rgb(pixel.map(|v| (v.clamp(0.0, 1.0) * 255.0).round() as u8))
        })
    }
}

/// `a` where `share` is 0, `b` where it is 1.
pub fn mix(a: Paint, b: Paint, share: f32) -> Paint {
    std::array::from_fn(|c| a[c] + (b[c] - a[c]) * share)
}

fn add(a: Paint, b: Paint) -> Paint {
    std::array::from_fn(|c| a[c] + b[c])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_smooth_and_areas_are_kept() {
        let mut canvas = Canvas::new(4, |_, _| [0.0; 3]);
        canvas.cover([0.0, 0.0, 0.375, 1.0], |x, _| {
            (x < 0.375).then_some([1.0; 3])
        });
        let row: Vec<u8> = (0..4).map(|x| canvas.image().get_pixel(x, 2)[0]).collect();
        // Half of the second column: its middle sample lies on the edge.
        assert_eq!(row[0], 255);
        assert!((85..=170).contains(&row[1]), "{row:?}");
        assert_eq!(&row[2..], [0, 0]);
    }
}
