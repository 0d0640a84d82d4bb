//! The kernel of products in WebAssembly, instruction by instruction.
//!
//! Two reasons. A WebAssembly module loads as a whole or not at all, so the page's cannot hold
//! relaxed multiply-adds, which some browsers lack. And the order of instructions that the compiler
//! makes of the same loop keeps more values alive than browsers have registers for. The kernel is
//! therefore a module of its own, of some 300 bytes, with relaxed multiply-adds if the browser takes
//! them: it shares the memory, and takes the place of the plain kernel in the table of functions.

use wasm_bindgen::{JsCast, JsValue};

use super::matmul::{COLUMNS, ROWS};

/// Puts the kernel into slot `index` of the table of functions; none where the browser refuses it.
pub(super) fn install(index: u32) -> Option<()> {
    let kernel = [true, false].into_iter().find_map(instantiate)?;
    let table: js_sys::WebAssembly::Table = wasm_bindgen::function_table().dyn_into().ok()?;
    table.set(index, kernel.unchecked_ref()).ok()
}

fn instantiate(relaxed: bool) -> Option<JsValue> {
    let code = js_sys::Uint8Array::from(&module(relaxed)[..]);
    let module = js_sys::WebAssembly::Module::new(&code).ok()?;
    let (imports, group) = (js_sys::Object::new(), js_sys::Object::new());
    let set =
        |object: &js_sys::Object, value: &JsValue| js_sys::Reflect::set(object, &NAME.into(), value).ok();
    set(&group, &wasm_bindgen::memory())?;
    set(&imports, &group)?;
    let instance = js_sys::WebAssembly::Instance::new(&module, &imports).ok()?;
    js_sys::Reflect::get(&instance.exports(), &NAME.into()).ok()
}

/// Of everything that has a name.
const NAME: &str = "k";

const I32: u8 = 0x7f;
const V128: u8 = 0x7b;

/// The parameters, those of the plain kernel.
const DEPTH: u8 = 0;
const A: u8 = 1;
const B: u8 = 2;
const SUMS: u8 = 3;
const PARAMETERS: u8 = 4;

/// Variables after the parameters: two sums a row, then what a step loads.
const FIRST_SUM: u8 = PARAMETERS;
const VECTORS: u8 = 2 * ROWS as u8;
const LEFT: u8 = FIRST_SUM + VECTORS;
const RIGHT: u8 = LEFT + 1;
const FACTOR: u8 = LEFT + 2;

const GET: u8 = 0x20;
const SET: u8 = 0x21;

/// The module: a type, the imported memory, one function, its export, its code.
fn module(relaxed: bool) -> Vec<u8> {
    let name = [NAME.len() as u8, NAME.as_bytes()[0]];
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    section(&mut bytes, 1, &[1, 0x60, PARAMETERS, I32, I32, I32, I32, 0]);
    section(&mut bytes, 2, &[&[1][..], &name, &name, &[2, 0, 0]].concat());
    section(&mut bytes, 3, &[1, 0]);
    section(&mut bytes, 7, &[&[1][..], &name, &[0, 0]].concat());
    let mut function = vec![1, VECTORS + 3, V128];
    body(&mut function, relaxed);
    let mut code = vec![1];
    number(&mut code, function.len());
    code.extend(function);
    section(&mut bytes, 10, &code);
    bytes
}

fn section(bytes: &mut Vec<u8>, id: u8, content: &[u8]) {
    bytes.push(id);
    number(bytes, content.len());
    bytes.extend(content);
}

/// An unsigned number, seven bits a byte.
fn number(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// What the function does, with its `end`.
fn body(code: &mut Vec<u8>, relaxed: bool) {
    // block; leave it if depth is 0; loop
    code.extend([0x02, 0x40, GET, DEPTH, 0x45, 0x0d, 0, 0x03, 0x40]);
    step(code, relaxed);
    // a += a step; b += a step (signed numbers below 64 are as they are)
    code.extend([GET, A, 0x41, 4 * ROWS as u8, 0x6a, SET, A]);
    code.extend([GET, B, 0x41, 4 * COLUMNS as u8, 0x6a, SET, B]);
    // depth -= 1; once more unless it is 0; end; end
    code.extend([GET, DEPTH, 0x41, 1, 0x6b, 0x22, DEPTH, 0x0d, 0, 0x0b, 0x0b]);
    for i in 0..VECTORS {
        code.extend([GET, SUMS, GET, FIRST_SUM + i, 0xfd, 0x0b, 2]);
        number(code, 16 * usize::from(i));
    }
    code.push(0x0b);
}

/// One step of the sums: each factor of `A` is used as soon as it is loaded.
fn step(code: &mut Vec<u8>, relaxed: bool) {
    code.extend([GET, B, 0xfd, 0x00, 2, 0, SET, LEFT, GET, B, 0xfd, 0x00, 2, 16, SET, RIGHT]);
    for row in 0..ROWS as u8 {
        code.extend([GET, A, 0xfd, 0x09, 2, 4 * row, SET, FACTOR]);
        for (loaded, sum) in [(LEFT, FIRST_SUM + 2 * row), (RIGHT, FIRST_SUM + 2 * row + 1)] {
            code.extend([GET, FACTOR, GET, loaded]);
            if relaxed {
                code.extend([GET, sum, 0xfd, 0x85, 0x02, SET, sum]);
            } else {
                code.extend([0xfd, 0xe6, 0x01, GET, sum, 0xfd, 0xe4, 0x01, SET, sum]);
            }
        }
    }
}
