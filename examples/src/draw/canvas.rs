use image::{Rgb, RgbImage};

use super::Area;

/// Lays a color over a pixel, where the picture has it.
pub fn blend(picture: &mut RgbImage, x: i32, y: i32, color: Rgb<u8>, opacity: f32) {
    let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else {
        return;
    };
    if let Some(pixel) = picture.get_pixel_mut_checked(x, y) {
        for (below, above) in pixel.0.iter_mut().zip(color.0) {
            let (old, new) = (f32::from(*below), f32::from(above));
            *below = (old + (new - old) * opacity.clamp(0.0, 1.0)).round() as u8;
        }
    }
}

/// A filled rectangle.
pub fn fill(picture: &mut RgbImage, area: Area, color: Rgb<u8>, opacity: f32) {
    let area = area.within(Area::of(picture));
    for y in area.y0..area.y1 {
        for x in area.x0..area.x1 {
            blend(picture, x, y, color, opacity);
        }
    }
}

/// The outline of a rectangle, `line` pixels wide, inside of it.
pub fn frame(picture: &mut RgbImage, area: Area, line: i32, color: Rgb<u8>, opacity: f32) {
    if area.is_empty() {
        return;
    }
    let Area { x0, y0, x1, y1 } = area;
    let (top, bottom) = ((y0 + line).min(y1), (y1 - line).max(y0 + line).min(y1));
    let (left, right) = ((x0 + line).min(x1), (x1 - line).max(x0 + line).min(x1));
    let strips = [
        Area { y1: top, ..area },
        Area { y0: bottom, ..area },
        Area {
            y0: top,
            y1: bottom,
            x1: left,
            ..area
        },
        Area {
            y0: top,
            y1: bottom,
            x0: right,
            ..area
        },
    ];
    for strip in strips {
        fill(picture, strip, color, opacity);
    }
}

/// A filled circle around the pixel `center`, its border smoothed.
pub fn disc(picture: &mut RgbImage, center: Area, radius: i32, color: Rgb<u8>, opacity: f32) {
    let (x0, y0) = (center.x0, center.y0);
    for y in -radius..=radius {
        for x in -radius..=radius {
            let inside = radius as f32 + 0.5 - ((x * x + y * y) as f32).sqrt();
            blend(
                picture,
                x0 + x,
                y0 + y,
                color,
                inside.clamp(0.0, 1.0) * opacity,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_paints_each_pixel_once() {
        for (width, height, line) in [(5, 4, 1), (5, 4, 2), (5, 4, 3), (1, 1, 1), (2, 9, 4)] {
            let mut picture = RgbImage::new(9, 9);
            let area = Area::sized(width, height);
            frame(&mut picture, area, line, Rgb([200; 3]), 0.5);
            let inside = area.grown(-line);
            for (x, y, pixel) in picture.enumerate_pixels() {
                let (x, y) = (x as i32, y as i32);
                let pixel_area = Area::sized(1, 1).at(x, y);
                let painted = area.contains(pixel_area)
                    && (inside.is_empty() || !inside.contains(pixel_area));
                let wanted = if painted { 100 } else { 0 };
                assert_eq!(
                    pixel.0, [wanted; 3],
                    "{width} × {height}, {line} at {x}, {y}"
                );
            }
        }
    }
}
