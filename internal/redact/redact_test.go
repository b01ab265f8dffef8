package redact

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// Token forms are put together here, so that no scanner takes this file for a leak.
const (
	slackToken  = "xox" + "b-123456789012-abcdefghijkl"
	githubToken = "gh" + "p_abcdefghijklmnopqrstuvwxyz0123456789"
	amazonKey   = "AK" + "IAIOSFODNN7EXAMPLE"
)

func TestACredentialIsFoundAndNeverShown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, find, shown string }{
		{"a password", "http://user:hunter2@es:9200", "a password in a URL", "http://[redacted]@es:9200"},
		{"a password with @ and slash", "http://u:hun@ter/2@es", "a password in a URL", "http://[redacted]@es"},
		{"a user alone", "http://hunter2@es", "", "http://[redacted]@es"},
		{"an API key in a query", "http://es/?a=1&api_key=hunter2&b=2", "a credential in the query of a URL", "http://es/?a=1&api_key=[redacted]&b=2"},
		{"a token in a query", "https://h/x?token=hunter2", "a credential in the query of a URL", "https://h/x?token=[redacted]"},
		{"a prefixed token in a query", "https://h/x?X-Amz-Signature=hunter2#f", "a credential in the query of a URL", "https://h/x?X-Amz-Signature=[redacted]#f"},
		{"a Slack webhook", "see https://hooks.slack.com/services/T0/B0/hunter2 .", "a Slack webhook", "see https://hooks.slack.com/services/[redacted] ."},
		{"a private key", "x -----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n", "a private key", "x -----BEGIN OPENSSH PRIVATE KEY-----[redacted]"},
		{"a Slack token", "a " + slackToken + " b", "an access token", "a [redacted] b"},
		{"a GitHub token as user", "https://" + githubToken + "@github.com/a", "an access token", "https://[redacted]@github.com/a"},
		{"an AWS key", "id=" + amazonKey, "an access token", "id=[redacted]"},
		{"a password without a scheme", "u:hunter2@r/c", "", "u:[redacted]@r/c"},
		{"a MySQL source", "app:hunter2@tcp(db:3306)/x", "a user with a password", "app:[redacted]@tcp(db:3306)/x"},
		{"a plain URL", "http://es:9200/path?refresh=true", "", "http://es:9200/path?refresh=true"},
		{"an image by digest", "registry.example.org:5000/a@sha256:0123", "", "registry.example.org:5000/a@sha256:0123"},
		{"a mail address behind a port", "http://host:80/?mail=a@b", "", "http://[redacted]@b"},
		{"a repository over SSH", "ssh://git@github.com/x", "", "ssh://[redacted]@github.com/x"},
		{"a key that is no credential", "http://h/?partitionkey=3", "", "http://h/?partitionkey=[redacted]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.find, Find(tt.text))
			assert.Equal(t, tt.shown, String(tt.text))
			assert.Equal(t, tt.shown, String(String(tt.text)), "again it changes nothing")
		})
	}
}

func TestASecretIsToldByItsName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"DB_PASSWORD", "TOKEN", "GITHUB_TOKEN", "apiKey", "AWS_SECRET_ACCESS_KEY", "CLIENT-SECRET"} {
		assert.True(t, SecretName(name), name)
	}
	for _, name := range []string{"TOKEN_FILE", "PASSWORD_PATH", "SERVER_ADDRESS", "KEY", "AUTHORIZED_SPIFFE_IDS"} {
		assert.False(t, SecretName(name), name)
	}
}
