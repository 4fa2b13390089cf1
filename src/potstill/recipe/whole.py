"""One recipe, and which of its choices go together."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from potstill.recipe.asking import CollectConfig, PromptsConfig, TeacherConfig
from potstill.recipe.curating import CurateConfig
from potstill.recipe.hidden_matching import check_hidden_matching
from potstill.recipe.judging import CostConfig, EvaluateConfig
from potstill.recipe.learning import ShrinkConfig, StudentConfig, TrainConfig
from potstill.recipe.marked import check_marked, learnt_by_text
from potstill.recipe.on_policy import check_on_policy
from potstill.recipe.section import Section
from potstill.recipe.served import check_served_targets
from potstill.recipe.tasks import TaskConfig


class Recipe(Section):
    """One distillation, from prompts to report."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Name of the run; its directory is runs/NAME unless --out says otherwise.",
    )
    minutes: float | None = Field(
        None,
        gt=0,
        description="Minutes that the whole run may take. How many prompts, calibration tokens, "
        "trials of a search and training steps they allow is measured on this machine "
        "(docs/how-to/minutes.md); what the recipe states itself stays as it says.",
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
    task: TaskConfig | None = Field(
        None, description="The job with short answers that both are scored on, where there is one."
    )
    collect: CollectConfig = Field(CollectConfig(), description="How the teacher answers.")
    curate: CurateConfig = Field(CurateConfig(), description="Which answers are learnt from.")
    shrink: ShrinkConfig = Field(ShrinkConfig(), description="How the student is made.")
    train: TrainConfig = Field(TrainConfig(), description="How the student learns.")
    evaluate: EvaluateConfig = Field(EvaluateConfig(), description="What is measured.")
    cost: CostConfig = Field(CostConfig(), description="Prices.")

    @property
    def text_only(self) -> bool:
        """Whether there are only answers and no weights: a server's, past ones, or gold ones."""
        return self.teacher.endpoint is not None or self.collect.answers_given

    @property
    def reads_given(self) -> bool:
        """Whether a server reads answers that come in files, and so tells its distribution."""
        endpoint = self.teacher.endpoint
        return endpoint is not None and endpoint.scores_text and self.collect.answers_given

    @property
    def served_targets(self) -> bool:
        """Whether a server's likeliest tokens are kept, so that there is more than its text."""
        endpoint, collect = self.teacher.endpoint, self.collect
        if endpoint is None or collect.targets != "top-k":
            return False
        return endpoint.scores_text or not collect.answers_given

    @property
    def cuts(self) -> tuple[str, ...]:
        """The fields of `shrink` that make a student smaller than what it is made from."""
        knobs = ("drop_layers", "blocks", "vocabulary", "ffn_channels", "kv_heads", "parameters")
        return tuple(f"shrink.{name}" for name in knobs if getattr(self.shrink, name))

    @model_validator(mode="before")
    @classmethod
    def _marked_learning(cls, values: Any) -> Any:
        return learnt_by_text(values)

    @model_validator(mode="after")
    def _possible_pairs(self) -> Recipe:
        if self.student.model is not None and self.cuts and not self.text_only:
            raise ValueError(
                "student.model and shrink cannot be combined: an existing student is trained as "
                f"it is; remove student.model, or {' and '.join(self.cuts)}"
            )
        if self.student.licence is not None and self.student.model is None:
            raise ValueError(
                "student.licence is that of student.model, which is not set: the student is made "
                "from the teacher, whose files state its licence; remove it"
            )
        if self.student.kind == "classifier" and (self.task is None or self.task.kind != "label"):
            raise ValueError(
                "student.kind classifier needs a task with labels (task.kind label): that is what "
                "makes it one; describe the task, or set student.kind to general"
            )
        check_marked(self.teacher, self.collect, self.train)
        check_on_policy(self.teacher, self.collect, self.train)
        check_hidden_matching(self.teacher, self.collect, self.train)
        self._possible_targets()
        self._possible_int8()
        self._possible_endpoint()
        self._possible_text_only()
        self._impartial_judge()
        self._possible_templates()
        return self

    def _possible_templates(self) -> None:
        """Refuse arguments of a chat template that nobody renders."""
        if self.teacher.template_arguments and self.text_only:
            raise ValueError(
                "teacher.template_arguments are for a teacher that is loaded here: a server takes "
                "them in teacher.endpoint.extra, as chat_template_kwargs, and the student's are "
                "student.template_arguments"
            )
        if self.student.template_arguments and not self.text_only:
            raise ValueError(
                "student.template_arguments are for a student that learns from text alone: this "
                "one speaks as its teacher does; set teacher.template_arguments"
            )

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
        # A server has no hidden states to give.
        otherwise = (
            "collect.targets to hidden"
            if self.teacher.endpoint is None
            else "train.cross_entropy to 1"
        )
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
                f"temperature; set train.temperature to 1, or {otherwise}"
            )
        shrink = self.shrink
        searched = shrink.parameters is not None and "vocabulary" in shrink.axes
        if kind == "top-k" and (shrink.vocabulary is not None or searched):
            name, way = ("vocabulary", "leave the vocabulary whole")
            if shrink.vocabulary is None:
                name, way = ("parameters", "take vocabulary out of shrink.axes")
            raise ValueError(
                f"collect.targets top-k and shrink.{name} cannot be combined: where the mass of "
                f"removed tokens goes is not known of the rest; {way}, or set {otherwise}"
            )

    def _possible_int8(self) -> None:
        """Refuse byte products for answers that nobody writes here."""
        if self.teacher.precision is not None and self.text_only:
            raise ValueError(
                "teacher.precision is for a teacher that is loaded here and answers: these "
                "answers come from a server or from files; remove it"
            )

    def _possible_endpoint(self) -> None:
        """Refuse what needs the teacher's weights where only its server is at hand."""
        if self.teacher.endpoint is None:
            return
        for name, way, given in (
            ("revision", "state it in teacher.endpoint.revision instead", self.teacher.revision),
            ("trust_remote_code", "remove it", self.teacher.trust_remote_code),
        ):
            if given:
                raise ValueError(
                    f"teacher.{name} and teacher.endpoint cannot be combined: no weights are "
                    f"loaded; {way}"
                )
        check_served_targets(self.teacher.endpoint, self.collect)
        if self.teacher.endpoint.scores_text and self.train.cross_entropy == 1:
            raise ValueError(
                "teacher.endpoint.scores_text and train.cross_entropy 1 cannot be combined: the "
                "server would read text for nothing; lower train.cross_entropy, or take "
                "scores_text out"
            )
        if "magpie" in (*self.prompts.sources, *(self.prompts.held_out_sources or ())):
            raise ValueError(
                "prompts from magpie and teacher.endpoint cannot be combined: a chat server does "
                "not write the user's turn; take prompts from a file, or from starter"
            )

    def _possible_text_only(self) -> None:
        """Refuse what needs the teacher's distributions where only its text is at hand."""
        if not self.text_only:
            if self.curate.reasoning == "leave_out":
                raise ValueError(
                    "curate.reasoning leave_out needs a teacher that gives text alone: one with "
                    "weights is learnt from token by token, reasoning included; set it to keep"
                )
            return
        endpoint = self.teacher.endpoint
        sources = {
            "teacher.endpoint": endpoint is not None and not self.reads_given,
            "collect.calls": self.collect.calls is not None,
            "collect.gold": self.collect.gold,
        }
        source, *others = [name for name, given in sources.items() if given]
        calls = self.collect.calls
        if others and not (calls is not None and calls.use == "prompts" and not self.collect.gold):
            raise ValueError(
                f"{source} and {others[0]} cannot be combined: each says where the answers come "
                "from; keep one"
            )
        if self.collect.gold and (self.task is None or self.task.gold is None):
            raise ValueError(
                "collect.gold needs to know where the right answers are; name their column in "
                "task.gold"
            )
        if self.student.model is None:
            raise ValueError(
                f"{source} gives text and no weights to make a student from; name a model in "
                "student.model (shrink makes it smaller, where it says so)"
            )
        if self.train.cross_entropy != 1 and not self.served_targets:
            more = ""
            if endpoint is not None and not self.collect.gold:
                more = (
                    ", or, where the server gives log-probabilities, collect.targets to top-k and "
                    "teacher.endpoint.top_logprobs to as many as collect.top_k_targets"
                )
            raise ValueError(
                f"train.cross_entropy {self.train.cross_entropy:g} and {source} cannot be "
                "combined: the rest would be a divergence from distributions that are not at "
                f"hand; set train.cross_entropy to 1{more}"
            )
