// SPDX-License-Identifier: Apache-2.0
extern torch::nn::Sequential first, second, third, head;
