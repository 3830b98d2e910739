// SPDX-License-Identifier: Apache-2.0
using MyRule = creditlib::DFA;
using MyModel = creditlib::ResidualMLP;
using MyNormalizer = creditlib::RowRms;
using MyOptimizer = creditlib::optimizer::SGD;
