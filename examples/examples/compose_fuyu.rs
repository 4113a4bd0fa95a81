//! A model without an image encoder, as Fuyu: patches of any number of rows go straight into the decoder.

use std::error::Error;

use burn::{
    module::Module,
    tensor::{DType, Device, Tensor, s},
};
use image::{Rgb, RgbImage};
use vlm::{prelude::*, vision::patches};

/// An encoder is any module with this one function.
#[derive(Module, Debug)]
struct Patchify {
    size: usize,
}

impl ImageEncoder for Patchify {
    fn forward(&self, images: &ImageBatch) -> Tensor<3> {
        let cut = |(index, size): (usize, &Size)| {
            let area = s![index..index + 1, .., ..size.height, ..size.width];
            patches(images.pixels.clone().slice(area), self.size)
        };
        let crops: Vec<Tensor<3>> = images.sizes.iter().enumerate().map(cut).collect();
        // Pictures of a batch may differ in size: their own patches come first, then padding.
        let most = crops.iter().map(|crop| crop.dims()[1]).max().unwrap_or(0);
        let padded = crops.into_iter().map(|crop| {
            let [_, count, values] = crop.dims();
            let room = Tensor::zeros([1, most, values], &crop.device());
            room.slice_assign(s![.., ..count, ..], crop)
        });
        Tensor::cat(padded.collect(), 0)
    }
}

/// A row of patches ends in a token of the vocabulary, which tells the decoder how wide the picture is.
#[derive(Debug)]
struct Rows {
    image: u32,
    newline: u32,
    patch: usize,
}

impl ImageTokens for Rows {
    fn image_token_id(&self) -> u32 {
        self.image
    }

    fn lay_out(&self, layout: &ImageLayout) -> Result<Vec<Slot>, vlm::core::Error> {
        let columns = layout.crop.width / self.patch;
        let row = |row: usize| {
            let patches = row * columns..(row + 1) * columns;
            let patches = patches.map(|token| Slot::visual(self.image, 0, token));
            patches.chain([Slot::text(self.newline)])
        };
        Ok((0..layout.crop.height / self.patch).flat_map(row).collect())
    }
}

/// Bytes to numbers from -1 to 1, channel by channel, in the size that the picture has.
fn process(picture: &RgbImage) -> ProcessedImage {
    let size = Size::new(picture.height() as usize, picture.width() as usize);
    let value = |channel: usize| {
        picture
            .pixels()
            .map(move |p| f32::from(p[channel]) / 127.5 - 1.0)
    };
    ProcessedImage {
        pixels: (0..3).flat_map(value).collect(),
        layout: ImageLayout::whole(size),
    }
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let device = Device::default();
    let (patch, hidden) = (10, 64);
    let model = Vlm::new(
        Patchify { size: patch },
        LinearProjectorConfig::new(3 * patch * patch, hidden).init(&device),
        CausalLmConfig::new(50, hidden, 128, 2, 4).init(&device),
    );
    let rows = Rows {
        image: 48,
        newline: 49,
        patch,
    };
    let pictures = [
        process(&RgbImage::from_pixel(60, 20, Rgb([200, 60, 30]))),
        process(&RgbImage::from_pixel(20, 30, Rgb([20, 90, 200]))),
    ];
    let prompts = pictures.each_ref().map(|picture| {
        Sequence::lay_out(&[48, 1, 2, 3], std::slice::from_ref(&picture.layout), &rows)
    });
    let [wide, high] = prompts;
    let (wide, high) = (wide?, high?);
    println!("wide: {:?}\nhigh: {:?}", wide.ids(), high.ids());

    // One batch answers as each picture alone.
    let answer = |prompts: &[Sequence], pictures: &[ProcessedImage]| {
        let images = Images::Pixels(ImageBatch::new(pictures, &device, DType::F32));
        generate(
            &model,
            prompts,
            Some(images),
            &GenerationConfig::new(6),
            &device,
        )
    };
    let together = answer(&[wide.clone(), high.clone()], &pictures)?;
    let alone = [
        answer(&[wide], &pictures[..1])?,
        answer(&[high], &pictures[1..])?,
    ]
    .concat();
    for (together, alone) in together.iter().zip(&alone) {
        println!("answer: {:?}", together.tokens);
        assert_eq!(together.tokens, alone.tokens);
    }
    Ok(())
}
