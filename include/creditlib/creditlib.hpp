#pragma once

/// All of creditlib. Programs that watch their compile time include what they use.

#include <creditlib/backprop_trainer.hpp>
#include <creditlib/bind_context.hpp>
#include <creditlib/concepts.hpp>
#include <creditlib/credit/credit_point.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/data/batches.hpp>
#include <creditlib/data/load.hpp>
#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/diagnostics/eval_mode.hpp>
#include <creditlib/diagnostics/finite.hpp>
#include <creditlib/diagnostics/gradients.hpp>
#include <creditlib/diagnostics/norms.hpp>
#include <creditlib/error.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/loss/inner_product.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/normalizer/row_rms.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/optim/adamw.hpp>
#include <creditlib/optim/rate.hpp>
#include <creditlib/optim/sgd.hpp>
#include <creditlib/schedule/always.hpp>
#include <creditlib/schedule/blend.hpp>
#include <creditlib/schedule/progress.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <creditlib/schedule/warmup.hpp>
#include <creditlib/trace.hpp>
#include <creditlib/trainer_options.hpp>

// JSON is needed by these alone; who does without nlohmann-json does without them.
#if __has_include(<nlohmann/json.hpp>)
#include <creditlib/io/json_file.hpp>
#include <creditlib/io/safetensors.hpp>
#endif
