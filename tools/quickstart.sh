#!/usr/bin/env bash
# From a fresh clone to a segmentation model that works: environment, data, training, test, picture.
#
#     bash tools/quickstart.sh
#
# On 2 cores: 5 minutes and what 2 GB of downloads take, 3 once the environment exists; no compiler is
# needed. Run again, it goes on from where it was: data are kept, an interrupted training is resumed, a
# finished one is tested again.
NEEDS='seg demo'
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
cd "$ROOT"

CONFIG=configs/toy/lkca_upernet_demo-ade20k.py
WORK_DIR=work_dirs/quickstart
PICTURE="$WORK_DIR/predictions.png"
EXPECTED=60  # percent mIoU

title() { say '' "== $*"; }

last_metric() {
    python - "$WORK_DIR/test" mIoU <<'PYTHON'
import json, pathlib, sys
folder, metric = sys.argv[1:]
newest = max(pathlib.Path(folder).glob('*/*.json'), key=lambda file: file.stat().st_mtime)
print(json.loads(newest.read_text())[metric])
PYTHON
}

title 'Data: scenes from real photographs, in the layout of ADE20K (seconds)'
python tools/dataset_tools/make_demo_data.py ade20k --out data/demo/ade20k

title 'Training: LKCA-ViT with UPerNet (2 to 3 minutes on 2 cores)'
python tools/train.py "$CONFIG" --work-dir "$WORK_DIR" --resume
checkpoint="$(<"$WORK_DIR/last_checkpoint")"

title 'Test: on parts of the photographs that were never trained on (seconds)'
python tools/test.py "$CONFIG" "$checkpoint" --work-dir "$WORK_DIR/test"

title 'Picture: image, truth and prediction side by side (seconds)'
python tools/visualization/segmentation_panels.py "$CONFIG" "$checkpoint" --out "$PICTURE"

metric="$(last_metric)"
((${metric%.*} >= EXPECTED)) || fail "The model reached $metric % mIoU where about 77 are usual and less" \
    "than $EXPECTED mean that something is broken. The log of its training is in $WORK_DIR."

title 'Done'
say "mIoU on unseen parts:  $metric %" \
    "checkpoint:            $checkpoint" \
    "picture:               $ROOT/$PICTURE" \
    '' \
    'Next:'
if [[ "$VIRTUAL_ENV" == "$VENV" ]]; then
    say "  source '$VENV/bin/activate'"
fi
say '  docs/first_steps.md: a picture of your own, what a mixer looks at, ONNX, a config of your own' \
    "  python tools/train.py $CONFIG --cfg-options model.backbone.drop_path_rate=0.1  # try a change" \
    '  python tools/train.py configs/upernet_lkca_s_ade20k.py  # real ADE20K: see README.md' \
    "To train the demo from the beginning again: rm -r $WORK_DIR"
