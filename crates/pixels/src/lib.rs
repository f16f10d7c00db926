//! Pixels and what is made of them: layouts of pictures ([`frame`]) and how they lie ([`orientation`]), from a picture to the model's input tensor
//! ([`preprocess`]), from its output tensor to a class map ([`segment`]), and how well class maps agree with labels
//! ([`score`]). Every kernel has a scalar twin that says what is right.

pub mod frame;
pub mod orientation;
pub mod preprocess;
pub mod score;
pub mod segment;
pub mod simd;
mod size;
