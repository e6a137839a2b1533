"""The sections of the params.yaml that `llm-core init` writes, with their comments."""

HEAD = """# Your corpus: {documents}. Made by `llm-core init`; `llm-core params` explains every parameter.
# Run it with `dvc repro`, or in Dagster with `make ui`. Then open data/report/report.html.
seed: 20261123 # of everything random

launch: # only where work runs; no stage depends on it
  pretraining: {{processes: 1, threads: 0}}

shards: {{megabytes: 16, tokens: 4194304}}
"""

CLEANING = """cleaning:
  steps: [extract, repair] # more: language, pii, gopher_quality, fineweb, … (llm-core params cleaning)
  min_characters: 50

deduplication: {threshold: 0.8}

decontamination: {ngram: 13, threshold: 0.3}

split: {heldout_share: 0.05} # group_by: {SOURCE: FIELD} keeps documents of one FIELD on one side
"""

OF_CORPUS = "llama of a size for this corpus and two CPU cores; `scale` counts the layers for the initial weights"
OF_PRESET = "of the preset's size; what is not here follows from `scale`"
OWN_MODEL = """open_models: {{}} # NAME: {{from: FOLDER}}: a parent of pretraining or of a finetune

tokenizer:
  from: data/split/train
  vocab_size: {vocab_size} # 32768 for some GB of text

model: # {about}
  family: llama
  layers: {layers}
  width: {width}
  heads: {heads}
  feed_forward: {feed_forward}
  tie_embeddings: true
"""

TASKS = ("arc_easy", "lambada_openai", "piqa")
EVALUATION = """evaluation:
  models: {models}
  benchmarks:
{own}
    tasks: [{fetched}] # English; `llm-core params evaluation` says which there are
  tasks: [{tasks}] # what is scored
  limit: 200 # items of each; null for all
  num_fewshot: 0
  fewshot_seeds: [1234]
  batch_size: 32
  dtype: float32
  add_bos_token: null
  chat: false
  prompts: [The] # beginnings that the model continues in the report
  language_modelling: {{tokens_per_source: 30000, context: 256, stride: 256}}
  answers: 200 # questions of a finetune's test rows; null for all
  answer_tokens: 24
  registry: language-model # registered names begin with it
  gate: {{metrics: [{metric}], margin: 0.0, confidence: 0.95}} # of base; a finetune is compared by its own score

report: {{price_per_hour: 0.0}}

scaling: {{rungs: {{}}}} # experiments/scaling/dvc.yaml
"""

RETRIEVAL = """retrieval: # `llm-core index`, `search` and `ask`; as stages in experiments/retrieval/dvc.yaml
  sources: null # all
  encoder: packaged # a sentence encoder from PyPI; none searches by words alone
{questions}

word2vec: {{neighbours_of: []}} # words whose neighbours `llm-core word2vec` writes
"""

NO_FINETUNES = """finetuning: # llm-core finetune --help lists the methods
  runs: {} # NAME: {method: classification, parent: base, data: {path: FILE, columns: {text: …, label: …}}}
  on_demand: {}
  datasets: {}
"""
