// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Context.h>

namespace creditlib::runtime {

/// Whether CUDA may compute products and convolutions of float32 in TF32, whose mantissa has 10 bits (a relative error of
/// about 3e-4), for the whole process from now on. LibTorch as it comes does so in convolutions and not in matrix
/// products, so that two networks of the same dtype are not computed alike. Has no effect on the CPU.
inline void use_tf32(bool on) {
  at::globalContext().setAllowTF32CuDNN(on);
  at::globalContext().setAllowTF32CuBLAS(on);
}

/// What CUDA does with float32 at present.
struct Tf32InUse {
  bool convolutions, products;
};
inline Tf32InUse tf32_in_use() { return {at::globalContext().allowTF32CuDNN(), at::globalContext().allowTF32CuBLAS()}; }

}  // namespace creditlib::runtime
