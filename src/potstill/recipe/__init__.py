"""The recipe: every choice that one distillation makes, in one frozen object.

All defaults of potstill live here and nowhere else. A stage receives its own section (for
example `TrainConfig`) and never the whole recipe.
"""

from potstill.recipe.asking import (
    CollectConfig,
    EndpointConfig,
    PromptsConfig,
    TeacherConfig,
)
from potstill.recipe.calls import CallsConfig, TermsConfig
from potstill.recipe.curating import (
    CurateConfig,
    DecontaminateConfig,
    JudgeConfig,
    VerifyConfig,
)
from potstill.recipe.judging import CostConfig, EvaluateConfig
from potstill.recipe.learning import (
    LoraConfig,
    OnPolicyConfig,
    ShrinkConfig,
    StudentConfig,
    TrainConfig,
)
from potstill.recipe.magpie import MagpieConfig
from potstill.recipe.matched_states import HiddenMatchingConfig
from potstill.recipe.section import Section
from potstill.recipe.tasks import TaskConfig
from potstill.recipe.watermark import WatermarkConfig
from potstill.recipe.whole import Recipe

__all__ = [
    "CallsConfig",
    "CollectConfig",
    "CostConfig",
    "CurateConfig",
    "DecontaminateConfig",
    "EndpointConfig",
    "EvaluateConfig",
    "HiddenMatchingConfig",
    "JudgeConfig",
    "LoraConfig",
    "MagpieConfig",
    "OnPolicyConfig",
    "PromptsConfig",
    "Recipe",
    "Section",
    "ShrinkConfig",
    "StudentConfig",
    "TaskConfig",
    "TeacherConfig",
    "TermsConfig",
    "TrainConfig",
    "VerifyConfig",
    "WatermarkConfig",
]
