pub(super) use super::scalar::KERNELS;
