package loop

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

func TestEnvironmentFiles(t *testing.T) {
	files := map[string]string{
		"cfg/a.env": "# comment\n\nA=1\nB=\"two words\"\r\nno line\n=nameless\nC=x=y",
		"cfg/b.env": "A=2\nD=4\n",
	}
	d := &driver{l: &Tasks{cfg: TasksConfig{Env: []string{"AWS_REGION=r"}, Object: func(bucket, key string) ([]byte, error) {
		text, ok := files[bucket+"/"+key]
		if !ok {
			return nil, errors.New("NoSuchKey")
		}
		return []byte(text), nil
	}}}}
	file := func(arn string) ecsapi.EnvironmentFile {
		return ecsapi.EnvironmentFile{Value: &arn, Type: wire.String("s3")}
	}
	env, err := d.env(t.Context(), nil, &ecsapi.ContainerDefinition{EnvironmentFiles: []ecsapi.EnvironmentFile{file("arn:aws:s3:::cfg/a.env"), file("arn:aws:s3:::cfg/b.env")},
		Environment: []ecsapi.KeyValuePair{{Name: wire.String("D"), Value: wire.String("5")}}})
	if want := []string{"AWS_REGION=r", "A=1", `B="two words"`, "C=x=y", "D=4", "D=5"}; err != nil || !slices.Equal(env, want) {
		t.Errorf("%q, %v", env, err)
	}
	for arn, want := range map[string]string{"arn:aws:s3:::cfg/none.env": "NoSuchKey", "arn:aws:s3:::cfg/a.txt": ".env", "a.env": "not the ARN"} {
		if _, err := d.environmentFiles([]ecsapi.EnvironmentFile{file(arn)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", arn, err)
		}
	}
}
