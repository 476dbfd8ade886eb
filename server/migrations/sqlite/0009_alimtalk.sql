-- Alimtalk templates, as Kakao approved them: the company's words, nobody's data.

-- Changes grow the version of the workspace's row.
CREATE TABLE alimtalk_templates (
    workspace INTEGER NOT NULL,
    -- The relay's.
    template_id TEXT NOT NULL,
    -- JSON: channel, text, buttons, what stands for variables, whether it may be used.
    config TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (workspace, template_id)
) STRICT, WITHOUT ROWID;
