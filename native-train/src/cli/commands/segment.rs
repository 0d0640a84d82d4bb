//! `rmae segment`: objects of a photo from prompts.

use std::fs;
use std::path::{Path, PathBuf};

use image::{DynamicImage, GrayImage, ImageBuffer, Luma, RgbImage, Rgba, RgbaImage};
use rmae_core::exec::{Precision, Tensors};
use rmae_core::prompt::export::{CocoImage, CocoObject, SvgObject, coco_json, label_map, svg};
use rmae_core::prompt::refine::{Edges, RefineOptions};
use rmae_core::prompt::{
    Candidate, Mask, ObjectPrompts, PredictOptions, Prediction, Predictor, PredictorOptions, RgbView,
};
use rmae_core::tensor::HostTensor;
use rmae_train::TrainError;
use rmae_train::checkpoint::{load_model, write_atomically, write_tensors_file};
use rmae_train::data::{DataError, decode};
use rmae_train::device::{DeviceRequest, select_device};

use crate::cli::args::SegmentArgs;
use crate::cli::segment_args::{EdgesName, Prompt};

/// What polygons may be off by, pixels.
const TOLERANCE: f32 = 0.75;
/// Colours of objects in an SVG, told apart with any kind of colour vision.
const COLOURS: [&str; 8] =
    ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999"];

/// An object as it was asked for.
struct Object {
    name: String,
    prompts: ObjectPrompts,
}

pub(crate) fn run(args: &SegmentArgs, ordered: &[Prompt], device: &DeviceRequest) -> anyhow::Result<()> {
    let photo = decode(&args.image)?;
    let objects = objects(ordered, &photo)?;
    let (model, weights) = load_model(&args.model.model)?;
    let device = select_device(device, Precision::F32)?;
    let settings = PredictorOptions { side: args.side, fit: args.fit.into(), ..PredictorOptions::default() };
    let (objects, made, latent) = pollster::block_on(async {
        let mut predictor = Predictor::new(&model, &weights, &device, settings).await?;
        let view = RgbView::new(photo.width() as usize, photo.height() as usize, photo.as_raw())?;
        predictor.set_image(view).await?;
        let (objects, made) = if args.candidates {
            choices(&mut predictor, objects, &options(args)).await?
        } else {
            let prompts: Vec<ObjectPrompts> = objects.iter().map(|o| o.prompts.clone()).collect();
            let made = predictor.predict(&prompts, &options(args)).await?;
            (objects, made)
        };
        Ok::<_, anyhow::Error>((objects, made, predictor.latent().cloned()))
    })?;
    if let Some(path) = &args.tensors {
        write_tensors_file(path, &tensors(latent, &made)?)?;
        complain!("wrote {}", path.display());
    }
    for (object, prediction) in objects.iter().zip(&made) {
        complain!("{}", summary(object, prediction));
    }
    Output { args, photo: &photo, objects: &objects, made: &made }.write()
}

/// All candidates of all objects, as objects of their own.
async fn choices(
    predictor: &mut Predictor, objects: Vec<Object>, options: &PredictOptions,
) -> anyhow::Result<(Vec<Object>, Vec<Prediction>)> {
    let (mut names, mut made) = (vec![], vec![]);
    for Object { name, prompts } in objects {
        for Candidate { granularity, prediction } in predictor.candidates(&prompts, options).await? {
            let name = format!("{name}, granularity {granularity}");
            names.push(Object { name, prompts: prompts.clone() });
            made.push(prediction);
        }
    }
    Ok((names, made))
}

/// What the model itself said: `latent [1, L+1, D]` and, for each object, `logits.N [S, S]`.
fn tensors(latent: Option<HostTensor>, made: &[Prediction]) -> anyhow::Result<Tensors> {
    let mut tensors = Tensors::new();
    tensors.extend(latent.map(|latent| ("latent".into(), latent)));
    for (index, prediction) in made.iter().enumerate() {
        let side = prediction.logits.len().isqrt();
        let logits = HostTensor::f32(&[side, side], prediction.logits.clone())?;
        tensors.insert(format!("logits.{}", index + 1), logits);
    }
    Ok(tensors)
}

fn options(args: &SegmentArgs) -> PredictOptions {
    let edges = match args.edges {
        EdgesName::Off => Edges::Off,
        EdgesName::Guided => Edges::Guided,
        EdgesName::GraphCut => Edges::GraphCut,
    };
    PredictOptions {
        granularity: args.granularity,
        refine: RefineOptions { edges, connected: !args.no_connected, holes: !args.no_holes },
        max_side: None,
        crop: args.crop.into(),
    }
}

/// Objects from what was typed: a separator begins the next one, and the first needs none.
fn objects(ordered: &[Prompt], photo: &RgbImage) -> anyhow::Result<Vec<Object>> {
    let mut objects: Vec<Object> = vec![];
    for prompt in ordered {
        if let Prompt::Object(name) = prompt {
            objects.push(named(name, objects.len()));
            continue;
        }
        if objects.is_empty() {
            objects.push(named("", 0));
        }
        if let Some(object) = objects.last_mut() {
            add(&mut object.prompts, prompt, photo)?;
        }
    }
    Ok(objects)
}

fn named(name: &str, before: usize) -> Object {
    let name = if name.is_empty() { format!("object {}", before + 1) } else { name.into() };
    Object { name, prompts: ObjectPrompts::default() }
}

fn add(prompts: &mut ObjectPrompts, prompt: &Prompt, photo: &RgbImage) -> anyhow::Result<()> {
    match prompt {
        Prompt::Object(_) => {}
        Prompt::Click(click) => prompts.clicks.push(click.clone()),
        Prompt::Box(rect) => prompts.boxes.push(rect.clone()),
        Prompt::File(path) => {
            let read = read_prompts(path)?;
            prompts.clicks.extend(read.clicks);
            prompts.boxes.extend(read.boxes);
            prompts.scribbles.extend(read.scribbles);
            if let Some(mask) = read.mask {
                set_mask(prompts, mask, path)?;
            }
        }
        Prompt::Mask(path) => set_mask(prompts, read_mask(path, photo)?, path)?,
    }
    Ok(())
}

fn set_mask(prompts: &mut ObjectPrompts, mask: Mask, path: &Path) -> anyhow::Result<()> {
    match prompts.mask.replace(mask) {
        None => Ok(()),
        Some(_) => Err(wrong(path, "is a second mask of one object; separate objects with --object")),
    }
}

fn read_prompts(path: &Path) -> anyhow::Result<ObjectPrompts> {
    let text = fs::read_to_string(path).map_err(|e| TrainError::io("read", path, e))?;
    serde_json::from_str(&text).map_err(|e| wrong(path, &format!("no prompts: {e}")))
}

/// A mask as a picture: bright and opaque is inside.
fn read_mask(path: &Path, photo: &RgbImage) -> anyhow::Result<Mask> {
    let read = image::ImageReader::open(path).map_err(|e| TrainError::io("read", path, e))?;
    let read = read.with_guessed_format().map_err(|e| TrainError::io("read", path, e))?;
    let picture =
        read.decode().map_err(|e| DataError::Decode { path: path.into(), reason: e.to_string() })?;
    let (width, height) = (picture.width(), picture.height());
    if (width, height) != photo.dimensions() {
        let (w, h) = photo.dimensions();
        return Err(wrong(path, &format!("the mask is {width}x{height} pixels, the photo is {w}x{h}")));
    }
    let inside =
        picture.into_luma_alpha8().pixels().map(|p| u8::from(p.0[0] > 127 && p.0[1] > 127)).collect();
    Ok(Mask::new(width as usize, height as usize, inside)?)
}

fn wrong(path: &Path, problem: &str) -> anyhow::Error {
    TrainError::Config(format!("{}: {problem}", path.display())).into()
}

fn summary(object: &Object, made: &Prediction) -> String {
    let place = made
        .mask
        .bounding_box()
        .map_or("nowhere".into(), |b| format!("{}x{} at {},{}", b.width, b.height, b.x, b.y));
    format!("{}: {} pixels, {place}, score {:.2}", object.name, made.mask.area(), made.score)
}

/// Everything that may be written.
struct Output<'a> {
    args: &'a SegmentArgs,
    photo: &'a RgbImage,
    objects: &'a [Object],
    made: &'a [Prediction],
}

impl Output<'_> {
    fn write(&self) -> anyhow::Result<()> {
        let args = self.args;
        if let Some(path) = &args.out {
            self.each(path, |made| mask_picture(&made.mask).into())?;
        }
        if let Some(path) = &args.cutout {
            self.each(path, |made| cut_out(self.photo, &made.mask).into())?;
        }
        if let Some(path) = &args.json {
            save(path, self.coco()?.as_bytes())?;
        }
        if let Some(path) = &args.svg {
            save(path, self.svg()?.as_bytes())?;
        }
        if let Some(path) = &args.label_map {
            save_picture(path, &self.labels()?.into())?;
        }
        Ok(())
    }

    /// One picture an object.
    fn each(&self, path: &Path, picture: impl Fn(&Prediction) -> DynamicImage) -> anyhow::Result<()> {
        for (i, made) in self.made.iter().enumerate() {
            let path = if self.made.len() == 1 { path.to_path_buf() } else { numbered(path, i + 1) };
            save_picture(&path, &picture(made))?;
        }
        Ok(())
    }

    fn size(&self) -> (usize, usize) {
        (self.photo.width() as usize, self.photo.height() as usize)
    }

    fn coco(&self) -> anyhow::Result<String> {
        let (width, height) = self.size();
        let name = self.args.image.file_name().unwrap_or_default().to_string_lossy();
        let object = |(object, made): (&'_ Object, &'_ Prediction)| (object.name.clone(), made.score);
        let facts: Vec<(String, f32)> = self.objects.iter().zip(self.made).map(object).collect();
        let objects: Vec<CocoObject<'_>> = facts
            .iter()
            .zip(self.made)
            .map(|((name, score), made)| CocoObject {
                name,
                mask: &made.mask,
                score: Some(*score),
                category: "object",
            })
            .collect();
        Ok(coco_json(CocoImage { name: &name, width, height }, &objects, TOLERANCE)?)
    }

    fn svg(&self) -> anyhow::Result<String> {
        let (width, height) = self.size();
        let colours = COLOURS.iter().cycle();
        let object = |((object, made), colour): ((&'_ Object, &'_ Prediction), &&'static str)| {
            (object.name.clone(), *colour, made.mask.clone())
        };
        let owned: Vec<_> = self.objects.iter().zip(self.made).zip(colours).map(object).collect();
        let objects: Vec<SvgObject<'_>> =
            owned.iter().map(|(name, colour, mask)| SvgObject { name, colour, mask }).collect();
        Ok(svg(width, height, &objects, TOLERANCE)?)
    }

    fn labels(&self) -> anyhow::Result<ImageBuffer<Luma<u16>, Vec<u16>>> {
        let (width, height) = self.size();
        let masks: Vec<&Mask> = self.made.iter().map(|made| &made.mask).collect();
        let labels = label_map(width, height, &masks)?;
        Ok(ImageBuffer::from_raw(width as u32, height as u32, labels).unwrap_or_default())
    }
}

/// `mask.png` as `mask-2.png`.
fn numbered(path: &Path, number: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map_or_else(String::new, |e| format!(".{}", e.to_string_lossy()));
    path.with_file_name(format!("{stem}-{number}{extension}"))
}

fn mask_picture(mask: &Mask) -> GrayImage {
    let pixel = |x: u32, y: u32| Luma([255 * u8::from(mask.get(x as usize, y as usize))]);
    GrayImage::from_fn(mask.width() as u32, mask.height() as u32, pixel)
}

/// The photo where the mask is; transparent black elsewhere, so that nothing is hidden in it.
fn cut_out(photo: &RgbImage, mask: &Mask) -> RgbaImage {
    RgbaImage::from_fn(photo.width(), photo.height(), |x, y| {
        let [r, g, b] = photo.get_pixel(x, y).0;
        if mask.get(x as usize, y as usize) { Rgba([r, g, b, 255]) } else { Rgba([0; 4]) }
    })
}

/// As PNG, whatever the name ends in.
fn save_picture(path: &Path, picture: &DynamicImage) -> anyhow::Result<()> {
    let mut bytes = std::io::Cursor::new(vec![]);
    picture.write_to(&mut bytes, image::ImageFormat::Png)?;
    save(path, bytes.get_ref())
}

fn save(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_atomically(path, |temporary| fs::write(temporary, bytes))?;
    complain!("wrote {}", path.display());
    Ok(())
}
