//! The kernel of products in WebAssembly, instruction by instruction.
//!
//! Two reasons. A WebAssembly module loads as a whole or not at all, so the page's cannot hold
//! relaxed multiply-adds, which some browsers lack. And the order of instructions that the compiler
//! makes of the same loop keeps more values alive than browsers have registers for. The kernel is
//! therefore a module of its own, of some 500 bytes, with relaxed multiply-adds if the browser takes
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
const COUNT: u8 = 0;
const DEPTH: u8 = 1;
const A: u8 = 2;
const B: u8 = 3;
const TO: u8 = 4;
const TO_ROW: u8 = 5;
const FROM: u8 = 6;
const FROM_ROW: u8 = 7;
const FROM_STEP: u8 = 8;
const PARAMETERS: u8 = 9;

/// Variables after the parameters: two sums a row, then what a step loads.
const FIRST_SUM: u8 = PARAMETERS;
const SUMS: u8 = 2 * ROWS as u8;
const LEFT: u8 = FIRST_SUM + SUMS;
const RIGHT: u8 = LEFT + 1;
const FACTOR: u8 = LEFT + 2;
const VECTORS: u8 = SUMS + 3;
/// Then where in the panel of `A` a step is, how many are left, and the row of a tile.
const AT: u8 = FIRST_SUM + VECTORS;
const STEPS: u8 = AT + 1;
const ROW: u8 = AT + 2;
const NUMBERS: u8 = 3;

const GET: u8 = 0x20;
const SET: u8 = 0x21;
/// To set a variable, and keep the value.
const TEE: u8 = 0x22;
const BLOCK: [u8; 2] = [0x02, 0x40];
const LOOP: [u8; 2] = [0x03, 0x40];
const END: u8 = 0x0b;
const IS_ZERO: u8 = 0x45;
/// To the end of the block around, or the start of the loop, if a number is not 0.
const BRANCH_IF: [u8; 2] = [0x0d, 0];

/// The module: a type, the imported memory, one function, its export, its code.
fn module(relaxed: bool) -> Vec<u8> {
    let name = [NAME.len() as u8, NAME.as_bytes()[0]];
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    section(&mut bytes, 1, &[&[1, 0x60, PARAMETERS][..], &[I32; PARAMETERS as usize], &[0]].concat());
    section(&mut bytes, 2, &[&[1][..], &name, &name, &[2, 0, 0]].concat());
    section(&mut bytes, 3, &[1, 0]);
    section(&mut bytes, 7, &[&[1][..], &name, &[0, 0]].concat());
    let mut function = vec![2, VECTORS, V128, NUMBERS, I32];
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

/// What the function does, with its `end`: tile after tile.
fn body(code: &mut Vec<u8>, relaxed: bool) {
    code.extend(BLOCK);
    code.extend([GET, COUNT, IS_ZERO]);
    code.extend(BRANCH_IF);
    code.extend(LOOP);
    load_sums(code);
    steps(code, relaxed);
    store_sums(code);
    add(code, TO, 4 * COLUMNS as u8);
    code.extend([GET, FROM, GET, FROM_STEP, 0x6a, SET, FROM]);
    count_down(code, COUNT);
    code.extend([END, END, END]);
}

/// The loop over the steps of a tile.
fn steps(code: &mut Vec<u8>, relaxed: bool) {
    code.extend([GET, A, SET, AT, GET, DEPTH, SET, STEPS]);
    code.extend(BLOCK);
    code.extend([GET, STEPS, IS_ZERO]);
    code.extend(BRANCH_IF);
    code.extend(LOOP);
    step(code, relaxed);
    add(code, AT, 4 * ROWS as u8);
    add(code, B, 4 * COLUMNS as u8);
    count_down(code, STEPS);
    code.extend([END, END]);
}

/// Adds to a variable. The number is below 64: larger ones are signed otherwise.
fn add(code: &mut Vec<u8>, variable: u8, number: u8) {
    code.extend([GET, variable, 0x41, number, 0x6a, SET, variable]);
}

/// Takes one from a variable; to the start of the loop unless it is 0 now.
fn count_down(code: &mut Vec<u8>, variable: u8) {
    code.extend([GET, variable, 0x41, 1, 0x6b, TEE, variable]);
    code.extend(BRANCH_IF);
}

fn load_sums(code: &mut Vec<u8>) {
    code.extend([GET, FROM, SET, ROW]);
    for sum in (FIRST_SUM..FIRST_SUM + SUMS).step_by(2) {
        code.extend([GET, ROW, 0xfd, 0x00, 2, 0, SET, sum, GET, ROW, 0xfd, 0x00, 2, 16, SET, sum + 1]);
        code.extend([GET, ROW, GET, FROM_ROW, 0x6a, SET, ROW]);
    }
}

fn store_sums(code: &mut Vec<u8>) {
    code.extend([GET, TO, SET, ROW]);
    for sum in (FIRST_SUM..FIRST_SUM + SUMS).step_by(2) {
        code.extend([GET, ROW, GET, sum, 0xfd, 0x0b, 2, 0, GET, ROW, GET, sum + 1, 0xfd, 0x0b, 2, 16]);
        code.extend([GET, ROW, GET, TO_ROW, 0x6a, SET, ROW]);
    }
}

/// One step of the sums: each factor of `A` is used as soon as it is loaded.
fn step(code: &mut Vec<u8>, relaxed: bool) {
    code.extend([GET, B, 0xfd, 0x00, 2, 0, SET, LEFT, GET, B, 0xfd, 0x00, 2, 16, SET, RIGHT]);
    for row in 0..ROWS as u8 {
        code.extend([GET, AT, 0xfd, 0x09, 2, 4 * row, SET, FACTOR]);
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
