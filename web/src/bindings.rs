//! What the worker sees: one class, [`Engine`], and a few functions.

use std::sync::Arc;

use js_sys::{Array, Float32Array, Object, Reflect, Uint8Array, Uint8ClampedArray, Uint16Array, Uint32Array};
use rmae_core::checkpoint::read_model;
use rmae_core::exec::{Device, Precision};
use rmae_core::gpu::{AdapterChoice, GpuDevice};
use rmae_core::prompt::export::{CocoImage, CocoObject, SvgObject, coco_json, label_map, svg};
use rmae_core::prompt::refine::Glance;
use rmae_core::prompt::{
    Mask, ObjectPrompts, Prediction, Predictor, PredictorOptions, WorkingImage, WorkingImageBuilder,
};
use rmae_core::{Error, Result};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};

use crate::facts::{self, ModelFacts};
use crate::{regions, requests};

/// A result whose error is an exception.
type Thrown<T> = std::result::Result<T, JsValue>;

/// What polygons may be off by, pixels of the image.
const TOLERANCE: f32 = 0.75;

/// Runs when the module is loaded. A panic must show in the console with its place in the source,
/// and the worker must hear of it: its promises would stay open for ever.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|panic| {
        let message = JsValue::from_str(&panic.to_string());
        web_sys::console::error_2(&"rmae:".into(), &message);
        let heard = Reflect::get(&js_sys::global(), &"rmaePanic".into());
        if let Some(function) = heard.ok().and_then(|heard| heard.dyn_into::<js_sys::Function>().ok()) {
            // There is nobody left to tell that telling failed.
            let _ = function.call1(&JsValue::NULL, &message);
        }
    }));
}

/// The version of this crate.
#[wasm_bindgen]
#[must_use]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// SHA-256 in hexadecimal, for pages on which browsers have none.
#[wasm_bindgen]
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// JavaScript objects that this module holds.
#[wasm_bindgen]
#[must_use]
pub fn handles() -> u32 {
    wasm_bindgen::externref_heap_live_count()
}

/// The browser's adapter, with subgroups where `device.js` has asked for them.
async fn opened() -> Result<GpuDevice> {
    let gpu = GpuDevice::new(&AdapterChoice::Any).await?;
    let subgroups = Reflect::get(&js_sys::global(), &"rmaeSubgroups".into());
    if subgroups.is_ok_and(|there| there.is_truthy()) {
        gpu.assume_subgroups();
    }
    Ok(gpu)
}

/// A model on a device, with the image that it looks at.
#[wasm_bindgen]
pub struct Engine {
    predictor: Predictor,
    facts: ModelFacts,
    /// The image that is being read.
    incoming: Option<WorkingImageBuilder>,
    /// The image that was read last, until it is encoded.
    read: Option<WorkingImage>,
}

#[wasm_bindgen]
impl Engine {
    /// Makes an engine from the bytes of a safetensors file, on WebGPU (any adapter) or on the CPU.
    ///
    /// # Errors
    /// An `Error` with a `code`; see [`facts::code`].
    pub async fn create(weights: Vec<u8>, webgpu: bool) -> Thrown<Self> {
        Self::made(weights, webgpu).await.map_err(thrown)
    }

    async fn made(bytes: Vec<u8>, webgpu: bool) -> Result<Self> {
        let (config, weights) = read_model(&bytes)?;
        drop(bytes);
        let device = if webgpu { Device::Gpu(opened().await?) } else { Device::cpu(Precision::F32) };
        let predictor = Predictor::new(&config, &weights, &device, PredictorOptions::default()).await?;
        Ok(Self { predictor, facts: ModelFacts::new(&config, &weights), incoming: None, read: None })
    }

    /// Takes the weights of the glance at images that come from now on; whether they are some.
    #[wasm_bindgen(js_name = useGlance)]
    pub fn use_glance(&mut self, bytes: &[u8]) -> bool {
        let glance = Glance::read(bytes).map(Arc::new);
        let some = glance.is_some();
        self.predictor.set_glance(glance);
        some
    }

    /// [`ModelFacts`] as JSON.
    #[must_use]
    pub fn model(&self) -> String {
        serde_json::to_string(&self.facts).unwrap_or_default()
    }

    /// Begins to read an image.
    ///
    /// # Errors
    /// `image` for a size that cannot be.
    #[wasm_bindgen(js_name = beginImage)]
    pub fn begin_image(&mut self, width: usize, height: usize) -> Thrown<()> {
        self.incoming = Some(WorkingImageBuilder::new(width, height).map_err(thrown)?);
        Ok(())
    }

    /// Takes the next rows, RGBA.
    ///
    /// # Errors
    /// `image` for rows that do not fit.
    #[wasm_bindgen(js_name = pushRows)]
    pub fn push_rows(&mut self, rgba: &[u8]) -> Thrown<()> {
        let incoming = self.incoming.as_mut().ok_or_else(|| Error::Image("no image was begun".into()));
        incoming.and_then(|incoming| incoming.push_rows(rgba, 4)).map_err(thrown)
    }

    /// Ends reading. The result, pixels as the model and the refinement see them, is enough for
    /// [`Engine::restore_image`] of another engine.
    ///
    /// # Errors
    /// `image` when rows are missing.
    #[wasm_bindgen(js_name = endImage)]
    pub fn end_image(&mut self) -> Thrown<Uint8Array> {
        let incoming = self.incoming.take().ok_or_else(|| Error::Image("no image was begun".into()));
        let image = incoming.and_then(WorkingImageBuilder::finish).map_err(thrown)?;
        let pixels = Uint8Array::from(image.data());
        self.read = Some(image);
        Ok(pixels)
    }

    /// Encodes the image that was read: later requests are about it.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn encode(&mut self) -> Thrown<()> {
        let image = self.read.take().ok_or_else(|| thrown(Error::Image("no image was read".into())))?;
        self.predictor.encode_image(image).await.map(drop).map_err(thrown)
    }

    /// Works out what refinement needs of the image, so that the first prediction need not.
    pub fn prepare(&self) {
        self.predictor.prepare();
    }

    /// The encoder's tokens of the image, the class token first: `{ tokens, width, data }`.
    ///
    /// # Errors
    /// `image` without one.
    pub fn embedding(&self) -> Thrown<Object> {
        let latent = self.predictor.latent().ok_or_else(no_image).map_err(thrown)?;
        let values = latent.to_f32();
        let width = latent.shape().last().copied().unwrap_or(1);
        Ok(object([
            ("tokens", number(values.len() / width.max(1))),
            ("width", number(width)),
            ("data", Float32Array::from(&values[..]).into()),
        ]))
    }

    /// Takes over an image of `width` x `height` pixels that another engine has read, and encodes it.
    ///
    /// # Errors
    /// Those of the device.
    #[wasm_bindgen(js_name = restoreImage)]
    pub async fn restore_image(&mut self, width: usize, height: usize, pixels: Vec<u8>) -> Thrown<()> {
        self.read = Some(WorkingImage::restore((width, height), pixels).map_err(thrown)?);
        self.encode().await
    }

    /// Masks of objects: an array of `{ width, height, data, score, area, box }`, with
    /// `logits` and the rectangle `seen` over which they lie where those are wanted; area and
    /// rectangles in pixels of the image.
    ///
    /// # Errors
    /// `prompt` for what cannot be, and those of the device.
    pub async fn predict(
        &mut self, prompts: String, masks: Array, options: String, logits: bool,
    ) -> Thrown<Array> {
        let objects = objects_of(&prompts, &masks).map_err(thrown)?;
        let options = requests::options(&options).map_err(thrown)?;
        let made = self.predictor.predict(&objects, &options).await.map_err(thrown)?;
        let full = self.full_size().map_err(thrown)?;
        Ok(made.into_iter().map(|prediction| result(prediction, full, logits)).collect())
    }

    /// Masks of one object from a part to the whole thing, as [`Engine::predict`] has them, each with
    /// its `granularity`.
    ///
    /// # Errors
    /// As [`Engine::predict`].
    pub async fn candidates(&mut self, prompts: String, masks: Array, options: String) -> Thrown<Array> {
        let objects = objects_of(&prompts, &masks).map_err(thrown)?;
        let options = requests::options(&options).map_err(thrown)?;
        let full = self.full_size().map_err(thrown)?;
        let made = Array::new();
        for object in &objects {
            for candidate in self.predictor.candidates(object, &options).await.map_err(thrown)? {
                let one = result(candidate.prediction, full, false);
                // A plain object takes every field.
                let _ = Reflect::set(&one, &"granularity".into(), &candidate.granularity.into());
                made.push(&one);
            }
        }
        Ok(made)
    }

    /// Attention from the patch under a point, of one head or the mean of all, in a layer or the last:
    /// `{ width, height, values, layer, layers, heads }`.
    ///
    /// # Errors
    /// `prompt` for a place, layer or head that there is not, `image` without one, and those of the
    /// device.
    pub async fn attention(
        &mut self, x: f32, y: f32, layer: Option<usize>, head: Option<usize>,
    ) -> Thrown<Object> {
        let layer = layer.unwrap_or(self.facts.depth.saturating_sub(1));
        let map = self.predictor.attention(layer, head, x, y).await.map_err(thrown)?;
        Ok(object([
            ("width", number(map.grid)),
            ("height", number(map.grid)),
            ("values", Float32Array::from(&map.values[..]).into()),
            ("layer", number(map.layer)),
            ("layers", number(map.layers)),
            ("heads", number(map.heads)),
        ]))
    }

    /// The masked image and what the model makes of it, pictures of RGBA:
    /// `{ side, masked, reconstruction, regions: [{ shown, completed, truth }] }`.
    ///
    /// # Errors
    /// `image` without one, `model-unsupported` for a model without decoders, and those of the device.
    pub async fn reconstruct(&mut self, mask_ratio: f64, seed: f64) -> Thrown<Object> {
        let made = self.predictor.reconstruct(mask_ratio, seed as u64).await.map_err(thrown)?;
        let region = |region| {
            JsValue::from(object([
                ("shown", picture(&made.region_shown(region))),
                ("completed", picture(&made.region_completed(region))),
                ("truth", picture(&made.region_truth(region))),
            ]))
        };
        Ok(object([
            ("side", number(made.side)),
            ("masked", picture(&made.masked())),
            ("reconstruction", made.filled().map_or(JsValue::NULL, |rgb| picture(&rgb))),
            ("regions", made.regions.iter().map(region).collect::<Array>().into()),
        ]))
    }

    /// Felzenszwalb-Huttenlocher segments: `{ width, height, labels, count }`.
    ///
    /// # Errors
    /// `image` without one, `prompt` for a scale that cannot be.
    pub fn regions(&self, scale: f64) -> Thrown<Object> {
        let map = regions::of(self.image().map_err(thrown)?, scale).map_err(thrown)?;
        Ok(object([
            ("width", number(map.width())),
            ("height", number(map.height())),
            ("count", number(map.count() as usize)),
            ("labels", Uint32Array::from(map.labels()).into()),
        ]))
    }

    /// Objects as `coco` or `svg`, a string, or as `labelmap`, `{ width, height, labels }`.
    ///
    /// # Errors
    /// `image` for masks of another size than the first, or than the image where there is no mask.
    pub fn export(&self, format: String, name: String, objects: String, masks: Array) -> Thrown<JsValue> {
        let masks = masks.iter().map(|mask| needed(&mask)).collect::<Result<Vec<_>>>().map_err(thrown)?;
        let objects = requests::exported(&objects).map_err(thrown)?;
        let pairs = || objects.iter().zip(&masks);
        let (width, height) = match masks.first() {
            Some(mask) => (mask.width(), mask.height()),
            None => self.full_size().map_err(thrown)?,
        };
        match format.as_str() {
            "coco" => {
                let made = pairs().map(|(o, mask)| CocoObject {
                    name: &o.name,
                    mask,
                    score: o.score,
                    category: &o.category,
                });
                let image = CocoImage { name: &name, width, height };
                coco_json(image, &made.collect::<Vec<_>>(), TOLERANCE).map(JsValue::from).map_err(thrown)
            }
            "svg" => {
                let made = pairs().map(|(o, mask)| SvgObject { name: &o.name, colour: &o.colour, mask });
                svg(width, height, &made.collect::<Vec<_>>(), TOLERANCE).map(JsValue::from).map_err(thrown)
            }
            _ => {
                let labels = label_map(width, height, &masks.iter().collect::<Vec<_>>()).map_err(thrown)?;
                let labels = Uint16Array::from(&labels[..]).into();
                Ok(object([("width", number(width)), ("height", number(height)), ("labels", labels)]).into())
            }
        }
    }

    fn image(&self) -> Result<&WorkingImage> {
        self.predictor.working_image().ok_or_else(no_image)
    }

    fn full_size(&self) -> Result<(usize, usize)> {
        self.image().map(WorkingImage::full_size)
    }
}

fn no_image() -> Error {
    Error::Image("there is none: set one first".into())
}

/// One object's result. Area and box are those of the image, whatever the size of the mask.
fn result(prediction: Prediction, (width, height): (usize, usize), with_logits: bool) -> JsValue {
    let Prediction { mask, score, logits, area: seen } = prediction;
    let (w, h) = (mask.width(), mask.height());
    let (across, down) = (width as f64 / w as f64, height as f64 / h as f64);
    let area = (mask.area() as f64 * across * down).round();
    let bounds = mask.bounding_box().map(|b| {
        let (left, top) = (f64::from(b.x) * across, f64::from(b.y) * down);
        let (right, bottom) = (f64::from(b.x + b.width) * across, f64::from(b.y + b.height) * down);
        [left, top, right, bottom].map(|edge| JsValue::from(edge.round())).iter().collect::<Array>()
    });
    let data = mask.into_grey();
    object([
        ("width", number(w)),
        ("height", number(h)),
        ("data", Uint8Array::from(&data[..]).into()),
        ("score", JsValue::from(f64::from(score))),
        ("area", JsValue::from(area)),
        ("box", bounds.map_or(JsValue::NULL, JsValue::from)),
        ("logits", if with_logits { Float32Array::from(&logits[..]).into() } else { JsValue::NULL }),
        ("seen", [seen.x0, seen.y0, seen.x1, seen.y1].map(JsValue::from).iter().collect::<Array>().into()),
    ])
    .into()
}

/// The prompts of objects, with the masks that came beside them.
fn objects_of(prompts: &str, masks: &Array) -> Result<Vec<ObjectPrompts>> {
    requests::objects(prompts, masks.iter().map(|mask| mask_of(&mask)).collect::<Result<_>>()?)
}

/// A mask, or none for `null` and `undefined`.
fn mask_of(value: &JsValue) -> Result<Option<Mask>> {
    if value.is_null() || value.is_undefined() { Ok(None) } else { needed(value).map(Some) }
}

fn needed(value: &JsValue) -> Result<Mask> {
    let field = |name: &str| Reflect::get(value, &name.into()).unwrap_or(JsValue::UNDEFINED);
    let side = |name: &str| field(name).as_f64().unwrap_or(0.0) as usize;
    let data = Uint8Array::new(&field("data")).to_vec();
    Mask::new(side("width"), side("height"), data)
}

/// RGB as `ImageData` wants it.
fn picture(rgb: &[u8]) -> JsValue {
    let rgba: Vec<u8> = rgb.chunks_exact(3).flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255]).collect();
    Uint8ClampedArray::from(&rgba[..]).into()
}

fn number(value: usize) -> JsValue {
    JsValue::from(value as f64)
}

fn object<const N: usize>(fields: [(&str, JsValue); N]) -> Object {
    let object = Object::new();
    for (name, value) in fields {
        // A plain object takes every field.
        let _ = Reflect::set(&object, &name.into(), &value);
    }
    object
}

/// The exception of an error.
fn thrown(error: Error) -> JsValue {
    let exception = js_sys::Error::new(&facts::message(&error));
    let _ = Reflect::set(&exception, &"code".into(), &facts::code(&error).into());
    exception.into()
}
