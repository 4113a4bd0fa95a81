use std::{path::Path, sync::Arc};

use vlm::{
    AnyConfig, Error, Processor,
    train::{
        MicroBatch,
        data::{Loader, LoaderConfig, Samples, open},
    },
};

use crate::args::Args;

/// What makes samples of records, in the way of the model's folder.
pub fn processor(model: &Path) -> Result<Arc<Processor>, Error> {
    let config = AnyConfig::from_folder(model)?;
    Ok(Arc::new(Processor::from_folder(model, &config)?))
}

/// The steps of the data that is learned; each has a share for every device.
pub fn training(args: &Args, processor: &Arc<Processor>, devices: usize) -> Result<Loader, Error> {
    let config = LoaderConfig {
        accumulation: args.gradient_accumulation as usize * devices,
        shuffle: (!args.no_shuffle).then_some(args.seed),
        grouping: args.group_by_length,
        packing: args.max_length.filter(|_| args.packing),
        ..common(args)
    };
    Ok(Loader::new(samples(args, &args.data, processor)?, config)?)
}

/// All the data that is evaluated, a batch at a time.
pub struct Evaluation {
    loader: Loader,
}

impl Evaluation {
    pub fn new(args: &Args, processor: &Arc<Processor>) -> Result<Option<Self>, Error> {
        let Some(file) = &args.eval_data else {
            return Ok(None);
        };
        let loader = Loader::new(samples(args, file, processor)?, common(args))?;
        Ok(Some(Self { loader }))
    }

    /// One pass, as micro-batches.
    pub fn batches(&mut self) -> impl Iterator<Item = Result<Vec<MicroBatch>, Error>> {
        let steps = self.loader.steps_per_epoch();
        (0..steps).map(|step| Ok(self.loader.step(step)?))
    }
}

fn common(args: &Args) -> LoaderConfig {
    let config = LoaderConfig::new(args.batch_size as usize);
    LoaderConfig {
        bad_samples: args.bad_samples.into(),
        workers: args.workers.unwrap_or(config.workers),
        ..config
    }
}

fn samples(
    args: &Args,
    file: &Path,
    processor: &Arc<Processor>,
) -> Result<impl vlm::train::data::Dataset + 'static, Error> {
    Ok(Samples {
        labels: args.labels.into(),
        max_length: args.max_length,
        too_long: args.too_long.into(),
        ..Samples::new(open(file)?, processor.clone())
    })
}
