//! Whether prompts mean something on their image.

use super::{BoxPrompt, Click, ObjectPrompts, Rect, Scribble};
use crate::error::{Error, Result};

/// Pixels that a coordinate may lie beyond the image: a pointer on its very edge is not wrong.
const SLACK: f32 = 0.5;

/// Checks the prompts of every object of an image of `width`×`height`, and puts the corners of boxes
/// in order.
pub(super) fn checked(objects: &[ObjectPrompts], width: usize, height: usize) -> Result<Vec<ObjectPrompts>> {
    if objects.is_empty() {
        return Err(wrong(
            "prompts".into(),
            "there is no object; give at least one click, box, scribble or mask",
        ));
    }
    let place = Place { width: width as f32, height: height as f32 };
    objects.iter().enumerate().map(|(i, object)| place.object(i + 1, object)).collect()
}

fn wrong(prompt: String, problem: impl Into<String>) -> Error {
    Error::Prompt { prompt, problem: problem.into() }
}

struct Place {
    width: f32,
    height: f32,
}

impl Place {
    fn object(&self, number: usize, object: &ObjectPrompts) -> Result<ObjectPrompts> {
        let name = |what: &str, i: usize| format!("{what} {} of object {number}", i + 1);
        for (i, click) in object.clicks.iter().enumerate() {
            self.click(click).map_err(|problem| wrong(name("click", i), problem))?;
        }
        for (i, scribble) in object.scribbles.iter().enumerate() {
            self.scribble(scribble).map_err(|problem| wrong(name("scribble", i), problem))?;
        }
        let mut boxes = vec![];
        for (i, b) in object.boxes.iter().enumerate() {
            boxes.push(self.ordered(b).map_err(|problem| wrong(name("box", i), problem))?);
        }
        if boxes.len() > 1 && common(&boxes).is_some_and(|rect| rect.is_empty()) {
            return Err(wrong(format!("the boxes of object {number}"), "have no pixel in common"));
        }
        // A mask without a pixel says nothing.
        let mask = object.mask.clone().filter(|mask| mask.area() > 0);
        let checked = ObjectPrompts { boxes, mask, ..object.clone() };
        if checked.is_empty() {
            let problem = match object.mask {
                Some(_) => "has an empty mask and nothing else; add a click, a box or a scribble",
                None => "says nothing; give at least one click, box, scribble or mask",
            };
            return Err(wrong(format!("object {number}"), problem));
        }
        Ok(checked)
    }

    fn click(&self, click: &Click) -> std::result::Result<(), String> {
        self.point(click.x, click.y)?;
        length("radius", click.radius)
    }

    fn scribble(&self, scribble: &Scribble) -> std::result::Result<(), String> {
        if scribble.points.is_empty() {
            return Err("has no point".into());
        }
        scribble.points.iter().try_for_each(|&[x, y]| self.point(x, y))?;
        length("width", scribble.width)
    }

    fn ordered(&self, b: &BoxPrompt) -> std::result::Result<BoxPrompt, String> {
        self.point(b.x0, b.y0)?;
        self.point(b.x1, b.y1)?;
        let (x0, x1) = (b.x0.min(b.x1).max(0.0), b.x0.max(b.x1).min(self.width));
        let (y0, y1) = (b.y0.min(b.y1).max(0.0), b.y0.max(b.y1).min(self.height));
        if x1 <= x0 || y1 <= y0 {
            return Err(format!("has no area: {},{} to {},{}", b.x0, b.y0, b.x1, b.y1));
        }
        Ok(BoxPrompt { x0, y0, x1, y1 })
    }

    fn point(&self, x: f32, y: f32) -> std::result::Result<(), String> {
        let fits = |at: f32, side: f32| at >= -SLACK && at <= side + SLACK;
        // A number that is none fits nowhere.
        if fits(x, self.width) && fits(y, self.height) {
            return Ok(());
        }
        Err(format!("{x},{y} lies outside the image, which is {}x{} pixels", self.width, self.height))
    }
}

fn length(name: &str, value: Option<f32>) -> std::result::Result<(), String> {
    match value {
        Some(value) if !(value.is_finite() && value > 0.0) => {
            Err(format!("its {name} is {value}: it must be above 0 pixels"))
        }
        _ => Ok(()),
    }
}

/// What all boxes share; none without a box.
pub(super) fn common(boxes: &[BoxPrompt]) -> Option<Rect> {
    let rects = boxes.iter().map(|b| Rect { x0: b.x0, y0: b.y0, x1: b.x1, y1: b.y1 });
    rects.reduce(|a, b| a.intersection(&b))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Mask;
    use super::*;

    fn click(x: f32, y: f32) -> ObjectPrompts {
        ObjectPrompts { clicks: vec![Click { x, y, positive: true, radius: None }], ..Default::default() }
    }

    fn boxed(sides: &[[f32; 4]]) -> ObjectPrompts {
        let boxes = sides.iter().map(|&[x0, y0, x1, y1]| BoxPrompt { x0, y0, x1, y1 }).collect();
        ObjectPrompts { boxes, ..Default::default() }
    }

    fn problem(object: ObjectPrompts) -> String {
        checked(&[click(1.0, 1.0), object], 20, 10).unwrap_err().to_string()
    }

    #[test]
    fn what_means_nothing_is_named() {
        assert!(checked(&[], 20, 10).unwrap_err().to_string().contains("no object"));
        assert!(problem(ObjectPrompts::default()).contains("object 2: says nothing"));
        assert!(problem(click(21.0, 3.0)).contains("click 1 of object 2: 21,3 lies outside"));
        assert!(problem(click(f32::NAN, 3.0)).contains("outside"));
        assert!(problem(click(f32::INFINITY, 3.0)).contains("outside"));
        assert!(problem(click(3.0, -2.0)).contains("20x10"));
        assert!(problem(boxed(&[[1.0, 1.0, 1.0, 5.0]])).contains("no area"));
        assert!(problem(boxed(&[[1.0, 1.0, 4.0, 5.0], [6.0, 1.0, 9.0, 5.0]])).contains("in common"));
        let mut radius = click(1.0, 1.0);
        radius.clicks[0].radius = Some(-1.0);
        assert!(problem(radius).contains("radius is -1"));
        let mut line = ObjectPrompts::default();
        line.scribbles.push(Scribble { points: vec![], width: None, positive: true });
        assert!(problem(line.clone()).contains("scribble 1 of object 2: has no point"));
        line.scribbles[0].points = vec![[1.0, 1.0], [1.0, 99.0]];
        assert!(problem(line.clone()).contains("1,99"));
        line.scribbles[0] = Scribble { points: vec![[1.0, 1.0]], width: Some(f32::NAN), positive: true };
        assert!(problem(line).contains("width"));
        let empty = ObjectPrompts { mask: Some(Mask::empty(20, 10)), ..Default::default() };
        assert!(problem(empty).contains("empty mask"));
    }

    #[test]
    fn corners_are_put_in_order_and_edges_belong_to_the_image() {
        let made = checked(&[boxed(&[[20.4, 9.0, 3.0, -0.2]])], 20, 10).unwrap();
        assert_eq!(made[0].boxes[0], BoxPrompt { x0: 3.0, y0: 0.0, x1: 20.0, y1: 9.0 });
        checked(&[click(20.0, 10.0), click(0.0, 0.0)], 20, 10).unwrap();
    }
}
