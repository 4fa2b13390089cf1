"""One recipe, and which of its choices go together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from potstill.recipe.asking import CollectConfig, PromptsConfig, TeacherConfig
from potstill.recipe.curating import CurateConfig
from potstill.recipe.judging import CostConfig, EvaluateConfig
from potstill.recipe.learning import ShrinkConfig, StudentConfig, TrainConfig
from potstill.recipe.section import Section


class Recipe(Section):
    """One distillation, from prompts to report."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Name of the run; its directory is runs/NAME unless --out says otherwise.",
    )
    seed: int = Field(0, ge=0, description="Seed of everything random.")
    device: str = Field("auto", description="`auto`, `cpu`, `cuda`, `cuda:N` or `mps`.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="Precision of the matrix products. `auto` takes bf16 where the device "
        "computes in it; weights, reductions and optimiser state stay fp32.",
    )
    teacher: TeacherConfig = Field(description="The model whose outputs are distilled.")
    student: StudentConfig = Field(StudentConfig(), description="The model that is trained.")
    prompts: PromptsConfig = Field(PromptsConfig(), description="What the teacher is asked.")
    collect: CollectConfig = Field(CollectConfig(), description="How the teacher answers.")
    curate: CurateConfig = Field(CurateConfig(), description="Which answers are learnt from.")
    shrink: ShrinkConfig = Field(ShrinkConfig(), description="How the student is made.")
    train: TrainConfig = Field(TrainConfig(), description="How the student learns.")
    evaluate: EvaluateConfig = Field(EvaluateConfig(), description="What is measured.")
    cost: CostConfig = Field(CostConfig(), description="Prices.")

    @model_validator(mode="after")
    def _possible_pairs(self) -> Recipe:
        knobs = ("drop_layers", "blocks", "vocabulary", "ffn_channels", "kv_heads", "parameters")
        used = [f"shrink.{name}" for name in knobs if getattr(self.shrink, name)]
        if self.student.model is not None and used:
            raise ValueError(
                "student.model and shrink cannot be combined: an existing student is trained as "
                f"it is; remove student.model, or {' and '.join(used)}"
            )
        self._possible_targets()
        self._impartial_judge()
        return self

    def _impartial_judge(self) -> None:
        """Refuse a teacher that judges itself unless the recipe says that it may."""
        judge = self.curate.judge
        if judge.model == self.teacher.model and not judge.judge_may_be_teacher:
            raise ValueError(
                "curate.judge.model is the teacher itself, which favours its own answers; name "
                "another model, or set curate.judge.judge_may_be_teacher"
            )

    def _possible_targets(self) -> None:
        """Refuse targets that cannot give the loss: it would be biased, or infinite."""
        kind, train = self.collect.targets, self.train
        if train.cross_entropy == 1:
            return
        if kind == "sampled" and train.objective != "forward_kl":
            raise ValueError(
                f"collect.targets sampled and train.objective {train.objective} cannot be "
                "combined: draws give forward_kl without a bias and nothing else; set "
                "train.objective to forward_kl, or collect.targets to hidden"
            )
        if kind == "top-k" and train.temperature != 1:
            raise ValueError(
                f"collect.targets top-k and train.temperature {train.temperature:g} cannot be "
                "combined: the likeliest tokens do not say what the rest is at another "
                "temperature; set train.temperature to 1, or collect.targets to hidden"
            )
        shrink = self.shrink
        searched = shrink.parameters is not None and "vocabulary" in shrink.axes
        if kind == "top-k" and (shrink.vocabulary is not None or searched):
            name, way = ("vocabulary", "leave the vocabulary whole")
            if shrink.vocabulary is None:
                name, way = ("parameters", "take vocabulary out of shrink.axes")
            raise ValueError(
                f"collect.targets top-k and shrink.{name} cannot be combined: where the mass of "
                f"removed tokens goes is not known of the rest; {way}, or set collect.targets to "
                "hidden"
            )
