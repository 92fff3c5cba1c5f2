package canon

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/loroindex/loro"
)

func TestValuesAreWrittenAsJavaScriptShowsThem(t *testing.T) {
	for _, tc := range []struct {
		value loro.Value
		want  string
	}{
		{loro.Null(), `null`},
		{loro.Bool(true), `true`},
		{loro.Int(-5), `-5`},
		{loro.Float(5), `5`},
		{loro.Float(math.Copysign(0, -1)), `0`},
		{loro.Int(1<<53 - 1), `9007199254740991`},
		{loro.Int(1 << 53), `{"$num":"4340000000000000"}`},
		{loro.Int(1<<53 + 1), `{"$num":"4340000000000000"}`},
		{loro.Float(1.5), `{"$f64":"3ff8000000000000"}`},
		{loro.Float(math.Inf(-1)), `{"$f64":"fff0000000000000"}`},
		{loro.Float(math.Float64frombits(0xfff8000000000001)), `{"$f64":"7ff8000000000000"}`},
		{loro.String("é\"\\\b\f\n\r\t\x01\x7f\u2028🙂"), `"é\"\\\b\f\n\r\t\u0001` + "\x7f\u2028" + `🙂"`},
		{loro.Binary([]byte{0, 255}), `{"$bin":"00ff"}`},
		{loro.List(loro.Int(1), loro.List()), `[1,[]]`},
		{loro.MapValue(loro.Entry{Key: "b", Value: loro.Int(1)}, loro.Entry{Key: "a", Value: loro.MapValue()}), `{"a":{},"b":1}`},
	} {
		require.Equal(t, tc.want, string(AppendValue(nil, tc.value)))
	}
}

func TestStateAndHistoryOfASmallDocument(t *testing.T) {
	d := loro.NewDoc(7)
	node, err := d.Tree("files").Create(loro.TreeRoot)
	require.NoError(t, err)
	require.NoError(t, d.Tree("files").Meta(node).Set("name", loro.String("x")))
	require.NoError(t, d.Map("m").Set("gone", loro.Binary([]byte{1, 2})))
	require.NoError(t, d.Map("m").Delete("gone"))
	require.NoError(t, d.Tree("files").Delete(node))
	d.SetCommitInfo("laptop", nil)
	d.Commit()
	require.Equal(t, `{}`, string(State(d)), "empty roots count")
	ops, err := Ops(d)
	require.NoError(t, err)
	op := func(i, dep, container, content string) string {
		return `{"container":"` + container + `","content":` + content + `,"deps":[` + dep + `],"id":"` + i + `@7","lamport":` + i + `,"msg":"laptop","ts":0}`
	}
	require.Equal(t, "["+
		op("0", "", "cid:root-files:Tree", `{"fractional_index":"80","parent":null,"target":"0@7","type":"create"}`)+","+
		op("1", `"0@7"`, "cid:0@7:Map", `{"key":"name","type":"insert","value":"x"}`)+","+
		op("2", `"1@7"`, "cid:root-m:Map", `{"key":"gone","type":"insert","value":[1,2]}`)+","+
		op("3", `"2@7"`, "cid:root-m:Map", `{"key":"gone","type":"delete"}`)+","+
		op("4", `"3@7"`, "cid:root-files:Tree", `{"target":"0@7","type":"delete"}`)+"]", string(ops))
}
