use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use burn::tensor::Device;
use examples::model::{bytes_bar, folder};
use vlm::{
    Error,
    train::{
        self, Ended, Finetune, FinetuneConfig, RunConfig, RunState, Start, folder::checkpoints,
        lora_of_adapter,
    },
};

use crate::{
    args::{Args, Format},
    data::{self, Evaluation},
    dropout, finish,
    metrics::Metrics,
    progress::Progress,
    session::Session,
    settings,
    table::table,
};

/// What shells take for a program that was interrupted.
const INTERRUPTED: u8 = 130;

/// Bytes of activations that are kept from step to step instead of being asked for anew.
const KEPT: usize = 1 << 31;

pub fn run(args: &Args) -> Result<ExitCode, Error> {
    vlm::kernels::keep_memory_up_to(KEPT);
    settings::check(args)?;
    let devices = args.device.iter().map(|name| vlm::parse_device(name));
    let devices: Vec<Device> = devices.collect::<Result<_, _>>()?;
    let resume = last_checkpoint(args)?;
    let mut state = match &resume {
        Some(folder) => RunState::from_folder(folder)?,
        None => RunState::default(),
    };
    let model = folder(&args.model)?;
    let dropout = dropout::unapplied(&model)?;
    if !dropout.is_empty() {
        eprintln!("config.json: {} is not applied", dropout.join(", "));
    }
    let processor = data::processor(&model)?;
    let loader = data::training(args, &processor, devices.len())?;
    let evaluation = Evaluation::new(args, &processor)?;
    let epoch = loader.steps_per_epoch();
    let steps = match args.steps {
        Some(steps) => steps,
        None => (args.epochs * epoch as f64).ceil() as usize,
    };
    let settings = settings::deciding(args, steps)?;
    if resume.is_some() {
        state.check(&settings).map_err(as_usage)?;
    }
    state.settings = settings;
    let mut finetune = load(args, &model, resume.as_deref(), &devices, steps)?;
    if let Some(folder) = &resume {
        finetune.resume(&state, folder)?;
    }
    std::fs::create_dir_all(&args.output).map_err(vlm::core::Error::io(&args.output))?;
    if args.format == Format::Text {
        let config = finetune.trainer.config();
        eprint!("{}", table(&finetune.parameters(), config));
    }
    let Finetune { mut trainer, saver } = finetune;
    let mut session = Session {
        loader,
        evaluation,
        saver,
        output: args.output.clone(),
        metrics: Metrics::open(&args.output, state.step)?,
        progress: Progress::new(state.step, steps, args.format == Format::Text),
        format: args.format,
        interrupted: interrupts(),
        since: Instant::now(),
        empty: 0,
    };
    let every = |flag: Option<u32>| flag.map_or(epoch, |every| every as usize);
    let config = RunConfig {
        steps,
        eval_every: every(args.eval_every),
        save_every: every(args.save_every),
        patience: args.patience.map(|patience| patience as usize),
    };
    let ended = train::run(&mut trainer, &config, &mut state, &mut session)?;
    session.progress.finish();
    if ended == Ended::Interrupted {
        eprintln!("left after step {}; --resume goes on", state.step);
        return Ok(ExitCode::from(INTERRUPTED));
    }
    finish::finish(args, &state, &session.metrics)?;
    Ok(ExitCode::SUCCESS)
}

/// The checkpoint to go on from. A folder that holds a run is not written into unless it is to go on.
fn last_checkpoint(args: &Args) -> Result<Option<PathBuf>, Error> {
    let output = &args.output;
    let last = checkpoints(output).pop().map(|(_, folder)| folder);
    let began = std::fs::metadata(Metrics::path(output)).is_ok_and(|log| log.len() > 0);
    if !args.resume && (last.is_some() || began) {
        return Err(Error::Usage(format!(
            "--output {}: there is a run already, expected another folder, or --resume to go on with it",
            output.display()
        )));
    }
    if args.resume && last.is_none() {
        eprintln!(
            "{}: no checkpoint to go on from; the run begins",
            output.display()
        );
    }
    Ok(last)
}

fn load(
    args: &Args,
    model: &Path,
    resume: Option<&Path>,
    devices: &[Device],
    steps: usize,
) -> Result<Finetune, Error> {
    let mut selection = settings::selection(args);
    let adapter = match &args.adapter {
        None => None,
        Some(folder) => {
            let (adapter, lora) = lora_of_adapter(folder)?;
            if let train::Selection::Lora(flags) = &mut selection {
                let whole = std::mem::take(&mut flags.whole);
                *flags = train::LoraConfig { whole, ..lora };
            }
            Some(adapter)
        }
    };
    let start = Start {
        model: model.to_path_buf(),
        adapter: args.adapter.clone(),
        resume: resume.map(Path::to_path_buf),
    };
    let bar = bytes_bar("loading");
    let quantization = args.quantize.map(Into::into);
    let dtype = args.dtype.float();
    let loaded = start.load(
        &mut selection,
        dtype,
        quantization,
        &devices[0],
        |done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        },
    );
    bar.finish_and_clear();
    let config = FinetuneConfig {
        selection,
        trainer: settings::trainer(args, steps),
        gradient_checkpointing: args.gradient_checkpointing,
        devices: devices[1..].to_vec(),
        features: args.cache_features.clone(),
        base: args.model.clone(),
        adapter,
    };
    Finetune::new(loaded?, config)
}

/// Set by the first Ctrl-C; the second ends the program at once.
fn interrupts() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let set = interrupted.clone();
    let handler = move || match set.swap(true, Ordering::Relaxed) {
        false => {
            eprintln!("\nthe run is saved after this step and left; again to leave it at once")
        }
        true => std::process::exit(INTERRUPTED.into()),
    };
    // Without a handler Ctrl-C ends the program, and the last checkpoint is what is left.
    let _ = ctrlc::set_handler(handler);
    interrupted
}

fn as_usage(error: vlm::core::Error) -> Error {
    Error::Usage(error.to_string())
}
