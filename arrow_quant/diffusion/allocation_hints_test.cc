#include "arrow_quant/diffusion/allocation_hints.h"

#include <gtest/gtest.h>

#include <vector>

namespace arrow_quant {
namespace {

TEST(AllocationHints, ErrorsOfContentLayersCountTwice) {
  struct Case {
    const char* name;
    double weight;
  };
  for (const Case& c :
       std::vector<Case>{{"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight", 2},
                         {"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v.weight", 2},
                         {"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q.weight", 1},
                         {"down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k.weight", 1},
                         {"blocks.3.cross_attn.v.weight", 2},
                         {"model.model.transformer.layers.0.cross_attn.to_kv.weight", 2},
                         {"transformer_blocks.0.ff.net.2.weight", 2},
                         {"transformer_blocks.0.ff_context.net.2.weight", 2},
                         {"transformer_blocks.0.ff.net.0.proj.weight", 1},
                         {"transformer_blocks.0.ff.conv_point.weight", 2},
                         {"double_blocks.0.img_mlp.2.weight", 2},
                         {"double_blocks.0.img_mlp.0.weight", 1},
                         {"blocks.7.ffn.2.weight", 2},
                         {"model.layers.1.mlp.down_proj.weight", 2},
                         {"model.layers.1.mlp.up_proj.weight", 1},
                         {"model.transformer.blocks.0.ff_out.weight", 2},
                         {"joint_blocks.0.x_block.mlp.fc2.weight", 2},
                         {"time_embed.2.weight", 1},
                         {"weight", 1}}) {
    EXPECT_EQ(error_weight(c.name), c.weight) << c.name;
  }
}

TEST(AllocationHints, LayersOfOneInputAreAGroup) {
  struct Case {
    std::vector<const char*> names;
    bool together;
  };
  for (const Case& c : std::vector<Case>{
           {{"b.0.attn1.to_q.weight", "b.0.attn1.to_k.weight", "b.0.attn1.to_v.weight"}, true},
           {{"b.0.attn2.to_k.weight", "b.0.attn2.to_v.weight"}, true},
           {{"b.0.attn2.to_q.weight", "b.0.attn2.to_k.weight"}, false},
           {{"b.0.attn.to_q.weight", "b.1.attn.to_q.weight"}, false},
           {{"b.0.attn.to_q.weight", "b.0.attn.add_q_proj.weight"}, false},
           {{"b.0.attn.add_q_proj.weight", "b.0.attn.add_v_proj.weight"}, true},
           {{"l.0.mlp.gate_proj.weight", "l.0.mlp.up_proj.weight"}, true},
           {{"l.0.mlp.gate_proj.weight", "l.0.mlp.down_proj.weight"}, false},
           {{"l.0.feed_forward.w1.weight", "l.0.feed_forward.w3.weight"}, true},
           {{"l.0.self_attn.q_proj.weight", "l.0.self_attn.o_proj.weight"}, false}}) {
    const std::string first = fused_group(c.names[0]);
    for (const char* name : c.names) {
      if (name != c.names[0]) {
        EXPECT_EQ(!first.empty() && fused_group(name) == first, c.together)
            << c.names[0] << ", " << name;
      }
    }
  }
}

TEST(AllocationHints, OtherLayersHaveNoGroup) {
  for (const char* name :
       {"b.0.attn1.to_out.0.weight", "b.0.ff.net.2.weight", "b.0.attn1.to_q.bias",
        "b.0.attn1.to_q.lora_A", "b.0.attn2.to_q.weight", "weight"}) {
    EXPECT_EQ(fused_group(name), "") << name;
  }
}

}  // namespace
}  // namespace arrow_quant
