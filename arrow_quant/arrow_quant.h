// The whole library, for users: #include <arrow_quant/arrow_quant.h>
#pragma once

#include "arrow_quant/config/config.h"
#include "arrow_quant/config/environment.h"
#include "arrow_quant/config/options.h"
#include "arrow_quant/core/cancel.h"
#include "arrow_quant/core/error.h"
#include "arrow_quant/core/log.h"
#include "arrow_quant/core/progress.h"
#include "arrow_quant/pipeline/inspect.h"
#include "arrow_quant/pipeline/orchestrator.h"
#include "arrow_quant/pipeline/quantize_batch.h"
#include "arrow_quant/pipeline/quantized_model.h"
#include "arrow_quant/pipeline/result.h"
#include "arrow_quant/pipeline/revise_model.h"
